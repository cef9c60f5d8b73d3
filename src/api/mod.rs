//! The REST endpoints, one noun a file: decode, one call, reply.

pub(crate) mod cancel_on_disconnect;
pub mod conversations;
pub mod exec;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod prompt;
pub mod route;
pub mod task;
