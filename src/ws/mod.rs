//! WebSocket (RFC 6455): one connection and its bounded outbox. Knows nothing of JSON-RPC.

pub mod connection;
pub mod outbox;
