//! The REST endpoints, one noun a file: decode, one call, reply.

pub mod conversations;
pub mod exec;
pub mod health;
pub mod json;
pub mod prompt;
pub(crate) mod tied;
