//! The method table as an OpenRPC document, with the schemas of the types that the methods decode
//! and encode.

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::spec::Spec;
use super::spec::Transport;
use crate::access::Access;

/// The errors of every method.
const ERRORS: [(&str, i32, &str); 11] = [
    ("ParseError", -32700, "not JSON"),
    ("InvalidRequest", -32600, "not a call of JSON-RPC 2.0"),
    ("MethodNotFound", -32601, "no such method"),
    ("InvalidParams", -32602, "the message names the member that is wrong"),
    ("InternalError", -32603, "the gateway failed"),
    ("Overloaded", -32001, "too much is queued, or the gateway is shutting down: try again later"),
    ("ConversationBusy", -32002, "conversation busy"),
    ("NotPermitted", -32003, "not permitted"),
    ("NotFound", -32004, "no such conversation, or its events are no longer kept"),
    ("TimedOut", -32005, "the turn exceeded its time limit; data.partial holds its result so far"),
    ("EngineOrModelError", -32006, "codex-core, or the model behind it, failed"),
];

/// No params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

/// The OpenRPC document of the methods.
pub(super) fn document(methods: &[Spec]) -> Value {
    let settings = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let described: Vec<Value> = methods.iter().map(|spec| describe(spec, &mut schemas)).collect();
    let errors: Map<String, Value> = ERRORS
        .into_iter()
        .map(|(name, code, message)| (name.to_owned(), json!({ "code": code, "message": message })))
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "codex-gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI's Codex agent over JSON-RPC 2.0. Params are named. The data of an \
                error holds code, detail, retry (safe, unsafe, after), source and request_id.",
            "license": { "name": "Apache-2.0" },
        },
        "servers": [
            { "name": "http", "url": "/jsonrpc", "summary": "POST, single calls and batches" },
            { "name": "websocket", "url": "/ws", "summary": "concurrent calls, notifications" },
        ],
        "methods": described,
        "components": {
            "schemas": schemas.take_definitions(true),
            "errors": errors,
        },
        "x-notifications": notifications(methods),
    })
}

fn describe(spec: &Spec, schemas: &mut SchemaGenerator) -> Value {
    let errors: Vec<Value> = ERRORS
        .into_iter()
        .map(|(name, ..)| json!({ "$ref": format!("#/components/errors/{name}") }))
        .collect();
    let result = (spec.result)(schemas);
    json!({
        "name": spec.name,
        "summary": spec.summary,
        "paramStructure": "by-name",
        "params": params(spec, schemas),
        "result": { "name": "result", "schema": result },
        "errors": errors,
        "x-transport": match spec.transport {
            Transport::Any => json!(["http", "websocket"]),
            Transport::WebSocket => json!(["websocket"]),
        },
        "x-access": match spec.access {
            Access::Open => "open",
            Access::Key | Access::Socket => "key",
        },
        "x-notifications": spec.notifies,
    })
}

/// The params of a method, each as a content descriptor.
fn params(spec: &Spec, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let schema = (spec.params)(schemas);
    let object = resolve(&schema, schemas);
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let members = object.get("properties").and_then(Value::as_object);
    let described = members.into_iter().flatten().map(|(name, schema)| {
        json!({
            "name": name,
            "schema": schema,
            "required": required.iter().any(|required| required == name),
        })
    });
    // OpenRPC requires this order.
    let (mut first, rest): (Vec<Value>, Vec<Value>) =
        described.partition(|member| member["required"] == true);
    first.extend(rest);
    first
}

/// Follows a reference to its definition.
fn resolve(schema: &Schema, schemas: &SchemaGenerator) -> Value {
    let name = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.rsplit('/').next());
    match name {
        Some(name) => schemas.definitions().get(name).cloned().unwrap_or_default(),
        None => schema.as_value().clone(),
    }
}

/// The notifications of the methods, with their params.
fn notifications(methods: &[Spec]) -> Vec<Value> {
    let mut names: Vec<&str> = methods.iter().flat_map(|spec| spec.notifies).copied().collect();
    names.sort_unstable();
    names.dedup();
    let described = names.into_iter().map(|name| {
        let params = match name {
            "conversation.event" => json!({
                "type": "object",
                "required": ["seq", "conversation_id", "id", "msg"],
                "properties": {
                    "seq": { "type": "integer", "description": "the number of the event in its conversation" },
                    "conversation_id": { "type": "string" },
                    "id": { "type": "string", "description": "the submission that caused it" },
                    "msg": {
                        "type": "object",
                        "required": ["type"],
                        "properties": { "type": { "type": "string" } },
                        "description": "an event of codex-core, or of the gateway if the type begins with gateway_",
                    },
                },
            }),
            "proto.event" => json!({
                "type": "object",
                "required": ["stream_id", "data"],
                "properties": {
                    "stream_id": { "type": "string" },
                    "data": { "type": "string", "description": "an Event of codex_gateway.proto, in base64" },
                },
            }),
            _ => json!({ "type": "object" }),
        };
        json!({ "name": name, "params": params })
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn every_method_is_described_and_references_resolve() {
        let specs: Vec<Spec> = Method::ALL.iter().map(|method| method.spec()).collect();
        let document = document(&specs);
        let methods = document["methods"].as_array().unwrap();
        assert_eq!(methods.len(), Method::ALL.len());
        for (method, described) in Method::ALL.iter().zip(methods) {
            assert_eq!(described["name"], method.spec().name);
        }
        let prompt = &methods[0]["params"][0];
        assert_eq!((&prompt["name"], &prompt["required"]), (&json!("prompt"), &json!(true)));
        crate::web::describe::assert_references_resolve(&document);
    }
}
