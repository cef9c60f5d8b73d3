//! The schemas of messages, for the OpenAPI document. [`super::message`] parses and encodes them in
//! parts, so no type there has their shape.

use schemars::JsonSchema;
use serde_json::Map;
use serde_json::Value;

/// A call of JSON-RPC 2.0, or a batch of 1 to 100. `rpc.discover` lists the methods.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "JsonRpcMessage", untagged)]
#[expect(dead_code, reason = "a schema: parsed in parts")]
pub(crate) enum Message {
    One(Call),
    Batch(#[schemars(length(min = 1, max = 100))] Vec<Call>),
}

/// A call, or a notification if `id` is absent.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "JsonRpcCall")]
#[expect(dead_code, reason = "a schema: parsed in parts")]
pub(crate) struct Call {
    jsonrpc: Version,
    #[schemars(default)]
    id: Id,
    method: String,
    params: Option<Map<String, Value>>,
}

/// The response to a call, or a list of responses to a batch.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "JsonRpcAnswer", untagged)]
#[expect(dead_code, reason = "a schema: encoded in parts")]
pub(super) enum Answer {
    One(CallResponse),
    Batch(Vec<CallResponse>),
}

/// The response to a call: `result` or `error`.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "JsonRpcResponse")]
#[expect(dead_code, reason = "a schema: encoded in parts")]
pub(super) struct CallResponse {
    jsonrpc: Version,
    /// The id of the call; null if it is invalid.
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CallError>,
}

/// The error of a call (section 5.1 of the specification).
#[derive(Debug, JsonSchema)]
#[schemars(rename = "JsonRpcError")]
#[expect(dead_code, reason = "a schema: encoded in parts")]
pub(super) struct CallError {
    code: i32,
    message: String,
    /// The members of a problem document, but for its type, title, status and instance.
    data: Map<String, Value>,
}

#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("const" = "2.0"))]
#[expect(dead_code, reason = "the schema of a constant")]
pub(super) struct Version(String);

#[derive(Debug, Default, JsonSchema)]
#[schemars(inline, extend("type" = ["string", "number", "null"]))]
pub(super) struct Id;
