//! The real engine: core's `ThreadManager`, started once.
//!
//! - `options`: the input of [`CodexEngine::open`]; `config`: core's configuration;
//! - `parts`: parts of core, opened at start; `engine`, `thread`: [`crate::Engine`] and
//!   [`crate::Thread`] on core;
//! - `extensions`: extensions of core; `models`: core's model catalogue; `store`: core's thread
//!   store;
//! - `documents`, `skills`: files of a project that core would read outside the sandbox;
//!   `contained`: files opened without following links;
//! - `mcp`: tool servers; `permissions`, `environment`: access and variables of commands;
//!   `self_test`, `views`: what confines them; `exec`, `terminal`: commands outside turns.

mod config;
mod contained;
mod documents;
mod engine;
mod environment;
mod errors;
mod exec;
mod extensions;
mod mcp;
mod models;
mod options;
mod parts;
mod permissions;
mod recordings;
mod self_test;
mod skills;
mod store;
mod terminal;
mod thread;
#[cfg(target_os = "linux")]
mod views;

pub use self::engine::CodexEngine;
pub use self::engine::check;
pub use self::models::Wire;
pub use self::options::Bridge;
pub use self::options::BridgedProvider;
pub use self::options::Options;
