//! Bounds of connections and request bodies.

use std::time::Duration;

/// Bounds of connections and bodies.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// The largest body.
    pub body_limit: usize,
    /// How long a request head may take.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// From SIGTERM to exit.
    pub drain_timeout: Duration,
}
