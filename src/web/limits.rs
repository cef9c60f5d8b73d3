//! Limits of connections and request bodies.

use std::time::Duration;

/// The listener has room for this part of [`Limits::max_connections`] in addition.
const RESERVE_SHARE: usize = 16;
/// The least size of that reserve.
const MIN_RESERVE: usize = 16;

/// The limits of connections and request bodies.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The number of connections with an authenticated request. There is room for some more.
    pub max_connections: usize,
    /// The number of connections on which one API key has requests in progress.
    pub max_connections_per_key: usize,
    /// The number of connections of one network without an authenticated request.
    pub max_connections_per_address: usize,
    /// The number of concurrent streams of an HTTP/2 connection.
    pub max_streams: u32,
    /// The bytes of responses that clients have not read, over all connections.
    pub max_unread_bytes: usize,
    /// The size of a body in bytes.
    pub body_limit: usize,
    /// The time in which a request head must arrive.
    pub header_timeout: Duration,
    /// The time that a connection stays open without a request.
    pub keep_alive_timeout: Duration,
    /// The time in which a body must arrive.
    pub body_timeout: Duration,
    /// The part of `drain_timeout` during which the gateway reports that it is not ready but still
    /// accepts requests.
    pub drain_delay: Duration,
    /// The time from SIGTERM to exit.
    pub drain_timeout: Duration,
}

impl Limits {
    /// Returns the number of connections that the listener has room for.
    pub fn connection_capacity(&self) -> usize {
        self.max_connections + (self.max_connections / RESERVE_SHARE).max(MIN_RESERVE)
    }

    /// Reduces the number of connections to at most `most`, and that of one key in proportion.
    pub fn reduce_connections(&mut self, most: usize) {
        let configured = self.max_connections;
        self.max_connections = most.min(configured);
        let share =
            self.max_connections_per_key.min(configured).saturating_mul(self.max_connections);
        self.max_connections_per_key = share.checked_div(configured).unwrap_or(1).max(1);
    }
}
