//! [`Connections`]: the open connections of the listener, and which of them make room for others.
//!
//! Every connection is accepted. Those with an authenticated request number at most
//! [`max_connections`](super::Limits::max_connections). The listener has room for a sixteenth more
//! (at least 16), so that probes and clients that have not sent a request yet always get in. What
//! makes room:
//!
//! 1. of the network with the most unauthenticated connections, the one that was idle the longest,
//!    then one whose request began first;
//! 2. if every connection is authenticated, the one that was idle the longest.
//!
//! A connection with an authenticated request in progress never makes room. A network of a few
//! connections loses none while a larger one has any. One API key has requests in progress on at
//! most [`max_connections_per_key`](super::Limits::max_connections_per_key) connections, so that its
//! holder cannot keep the others out.

mod connection;
mod key_shares;
mod network;
mod pool;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod unread;

pub use self::connection::Connection;
pub use self::connection::InProgress;
pub use self::pool::CloseReason;
pub use self::pool::Connections;
pub use self::pool::Full;
pub use self::pool::MAX_CLOSING;
pub use self::unread::Unread;
