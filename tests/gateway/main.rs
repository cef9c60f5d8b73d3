//! The gateway on real sockets, with the real codex-core and the demo model.
//!
//! One binary, because each one links core; a file per topic. Nothing here measures time: waits
//! have generous limits that only turn a hang into a failure.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests say what went wrong by panicking"
)]

mod apply;
mod approvals;
mod auth;
mod autobahn;
mod bad_input;
mod cli;
mod clients;
mod conversations;
mod dashboards;
mod events;
mod exec;
mod house;
mod interactive;
mod main_job;
mod mcp;
mod providers;
mod proxy;
mod questions;
mod rpc;
mod sandbox;
mod sdk;
mod sessions;
mod socket;
mod stopping;
mod support;
mod telemetry;
mod viewers;
mod wires;
