//! codex-gateway: OpenAI's Codex agent behind HTTP, in one process.
//!
//! A raw Hyper server holds codex-core's conversation manager and streams core's protocol events
//! straight to clients. No framework, no middleware, no subprocess per request.
//!
//! # The path of a request
//!
//! ```text
//! socket → server::run                   accept; the idlest connection makes room
//!        → server::connection::serve     h1 or h2c; client closed | idle | drain | force
//!        → gateway::call                 request id, span; Route::parse, then dispatch admits the
//!                                        caller; the one place where an Error becomes a response
//!        → api::<noun>, rpc              decode → one call of ops → reply
//!        → ops::<noun>                   the use case, with its rules
//!        → conversation::Conversation    prompt, interrupt, cursor
//!          conversation::pump            core event → JSON, once
//!          conversation::log::EventLog   under one lock: number, store, wake
//!        → stream::EventReader           cursor + heartbeat + gap notice + goodbye
//!        → stream::{jsonl, sse, task_view} framing only
//!        → web::Body                     owns what ends with it; Drop ends everything
//!        → hyper → socket
//!
//! core → bridge (in-process WebSocket) → fallback chain → upstream → provider, in its wire format
//! ```
//!
//! # Layers
//!
//! A module imports from its own folder or from a layer above it in this list; a test checks.
//!
//! ```text
//! foundation    error  text  range  input  sync  shutdown  tls  access  web  ws  telemetry
//! services      store  patch  terminal  bridge  proxy  conversation  stream
//! application   config  app  ops
//! doors         api  rpc  gateway  server  cli
//! ```
//!
//! # Invariants
//!
//! - Only `crates/engine`, and the stand-ins, name codex crates; only [`error`] picks a status.
//!   Tests check.
//! - A route without an access rule does not compile ([`gateway::route::Route::access`]).
//! - An event is encoded once, and numbered and stored under one lock. A reader that comes too late
//!   learns how many events it missed.
//! - A conversation runs one turn at a time, stopped in one place (`conversation::supervisor`).
//! - A stream cannot fail, it can only end. Hyper never sees an error.
//! - [`shutdown::Shutdown`] tracks every task; draining precedes forcing.

// They panic if the pipe is closed; `cli::eprint_lossy` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

// Foundation: knows no conversation.
pub mod access;
pub mod error;
mod input;
mod range;
pub mod shutdown;
mod sync;
pub mod telemetry;
mod text;
mod tls;
pub mod web;
pub mod ws;

// Services: each usable alone.
pub mod bridge;
pub mod conversation;
pub mod patch;
pub mod proxy;
pub mod store;
pub mod stream;
pub mod terminal;

// Application.
pub mod app;
pub mod config;
mod ops;

// Doors.
pub mod api;
pub mod cli;
pub mod gateway;
pub mod rpc;
pub mod server;
