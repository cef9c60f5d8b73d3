//! JSON-RPC 2.0: the messages, and a file per group of methods.

mod apply;
mod auth;
mod conformance;
mod exec;
mod interactive;
mod mcp;
mod messages;
mod proxy;
mod strictness;

use serde_json::Value;

use crate::support::Gateway;

/// Posts a body to `/jsonrpc`. Returns the status and the answer, null if the body is empty.
async fn send(gateway: &Gateway, body: &str) -> (u16, Value) {
    let json = [("content-type", "application/json")];
    let reply = gateway.send("POST", "/jsonrpc", &json, body.as_bytes()).await;
    let value = if reply.body.is_empty() { Value::Null } else { reply.json() };
    (reply.status, value)
}
