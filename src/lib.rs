//! codex-gateway: OpenAI's Codex agent behind HTTP, in one process.
//!
//! A raw Hyper server holds codex-core's conversation manager and streams core's protocol events
//! straight to clients. No framework, no middleware, no subprocess per request.
//!
//! # The path of a request
//!
//! ```text
//! socket → server::run                   take a connection permit, then accept
//!        → server::connection::serve     h1 or h2c; client closed | drain | force
//!        → gateway::Gateway::call        request id, span; Route::parse → access::admit → dispatch;
//!                                        the one place where an Error becomes a response
//!        → api::<noun>, rpc, socket      decode → one call → reply
//!        → conversation::Conversation    prompt, stop, cursor
//!          conversation::pump            core event → JSON, once
//!          conversation::log::EventLog   under one lock: number, keep, wake
//!        → stream::events                cursor + heartbeat + gap notice + goodbye
//!        → stream::{jsonl, sse, task}    framing only
//!        → gateway::Body                 owns what ends with it; Drop ends everything
//!        → hyper → socket
//!
//! core → bridge (private WebSocket) → bridge::route → bridge::upstream → provider, over its
//!        bridge::wire
//! ```
//!
//! # Reading order
//!
//! [`config`] · [`error`] · [`server`] · [`gateway`] · [`access`] · [`api`] · [`rpc`] ·
//! [`socket`] · [`conversation`] · [`patch`] · [`stream`] · [`store`] · [`terminal`] · [`proxy`] ·
//! [`bridge`] · [`telemetry`] · [`assembly`] · [`cli`]; and the crate `codex-gateway-engine`, the only one
//! that names codex crates. The others in `crates/` stand in for crates of core's graph that cost each
//! conversation more than they do for it; the patch table of `Cargo.toml` says what.
//!
//! # Invariants
//!
//! - Only `crates/engine`, and what stands in for them, names codex crates; only `stream` frames bytes; only [`error`] picks a
//!   status. A test checks.
//! - A route says who may call it, or it does not compile ([`gateway::Route::access`]).
//! - An event is encoded once; it is numbered and kept under one lock. A reader that comes too late
//!   is told how many events it missed.
//! - One turn at a time per conversation, stopped in one place (`conversation::keeper`).
//! - A stream cannot fail, it can only end. Hyper sees no errors.
//! - Every task is in [`server::Shutdown`]; draining comes before forcing.

// They panic when nobody reads the other end; `cli::tell` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod api;
pub mod assembly;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod conversation;
pub mod error;
pub mod gateway;
pub mod patch;
pub mod proxy;
pub mod rpc;
pub mod server;
pub mod socket;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod terminal;
