//! The gateway on real sockets, with the real codex-core and the demo model.
//!
//! One binary, because each one links core; a folder per subject, a file per topic. No test
//! measures time: waits have generous limits that only turn a hang into a failure.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test reports a failure by panicking"
)]

mod agent;
mod conformance;
mod deploy;
mod hostile;
mod house;
mod http;
mod models;
mod rpc;
mod support;
mod telemetry;
mod ws;
