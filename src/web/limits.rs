//! Limits of connections and request bodies.

use std::time::Duration;

/// The limits of connections and request bodies.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The number of open connections; more wait in the kernel's accept queue.
    pub max_connections: usize,
    /// The size of a body in bytes.
    pub body_limit: usize,
    /// The time in which a request head must arrive.
    pub header_timeout: Duration,
    /// The time in which a body must arrive.
    pub body_timeout: Duration,
    /// The time from SIGTERM to exit.
    pub drain_timeout: Duration,
}
