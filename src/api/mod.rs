//! The REST endpoints, one noun a file: decode, one call, reply.

pub mod conversations;
pub mod exec;
pub mod health;
pub mod json;
pub mod metrics;
pub mod openapi;
pub mod prompt;
pub mod task;
pub(crate) mod tied;

/// RFC 3339, milliseconds, `Z`.
pub(crate) fn rfc3339(time: chrono::DateTime<chrono::Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
