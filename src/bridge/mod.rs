//! The model bridge, between codex-core and every model.
//!
//! Core speaks one dialect, the Responses API, and treats HTTP as cheap: over HTTP it builds a new
//! client and a new connection for every call. So core's provider is this process. It speaks the
//! transport that core prefers, one WebSocket per conversation, and keeps warm, pooled connections
//! to the real providers, whatever API they have.
//!
//! ```text
//! core → server → session → backend → fallback → upstream → provider
//! ```
//!
//! - [`server`]: core's connections; [`session`]: one of them, whose incremental input is completed;
//! - [`call`]: one model call; [`request`]: its request, kept as core wrote it; [`event`]: the
//!   events of its answer;
//! - [`backend`]: the [`demo`] model, or a provider with its [`fallback`] candidates;
//! - [`upstream`]: calls one provider, over the [`client`]'s pooled connections and in its own
//!   [`api`]; [`provider`]: its configuration; [`built_in`]: providers without a table;
//! - [`credentials`]: keys that sessions bring along; [`provenance`]: items that only their maker
//!   can read;
//! - [`in_flight`]: calls under way, so that an interrupted turn cancels its own; [`recorder`]:
//!   measures one; [`span`]: its span and metrics; [`call_log`]: the finished ones; [`repeats`]:
//!   bounds core's own retries.

pub mod api;
pub mod backend;
pub mod built_in;
pub mod call;
pub mod call_log;
pub mod client;
pub mod credentials;
pub mod demo;
pub mod event;
pub mod fallback;
pub mod in_flight;
pub mod provenance;
pub mod provider;
mod recorder;
mod repeats;
pub mod request;
pub mod server;
mod session;
mod span;
pub mod upstream;

pub use self::server::Endpoint;
pub use self::server::start;
