//! The use cases: typed request in, typed result out. They know neither HTTP nor JSON-RPC.
//!
//! - [`commands`], [`patches`], [`terminals`]: programs in the sandbox; [`sandbox`]: whether it works
//! - [`mcp`]: tool servers; [`login`]: keys of sessions; [`upstream`]: calls of upstreams

pub(crate) mod commands;
pub(crate) mod login;
pub(crate) mod mcp;
pub(crate) mod patches;
mod sandbox;
pub(crate) mod terminals;
pub(crate) mod upstream;
