//! A row of the method table, as [`super::discover`] and tests read it.

use schemars::Schema;
use schemars::SchemaGenerator;

use crate::access::Access;

/// The transports that a method may be called over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `POST /jsonrpc` and `GET /ws`.
    Any,
    /// `GET /ws` alone: the method is about notifications.
    WebSocket,
}

/// The description of a method.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The name on the wire.
    pub name: &'static str,
    /// A sentence or two.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// The transports that it may be called over.
    pub transport: Transport,
    /// The notifications that it sends to a socket.
    pub notifies: &'static [&'static str],
    /// The JSON Schema of the params.
    pub params: fn(&mut SchemaGenerator) -> Schema,
    /// The JSON Schema of the result.
    pub result: fn(&mut SchemaGenerator) -> Schema,
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("name", &self.name)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
