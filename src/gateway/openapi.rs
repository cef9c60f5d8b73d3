//! `GET /openapi.json`: the table of routes as an OpenAPI 3.1 document. Parameters, bodies and
//! responses come from the types that handlers decode and encode. `rpc.discover` describes the
//! methods of `/jsonrpc` and `/ws`.

use bytes::Bytes;
use http::Response;
use http::StatusCode;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::spec::Spec;
use crate::access::Access;
use crate::error::Problem;
use crate::web::Body;
use crate::web::describe::Operation;
use crate::web::describe::Schemas;
use crate::web::describe::problems;
use crate::web::reply;
use crate::web::respond::Respond;

/// The encoded document.
#[derive(Debug, Clone)]
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn new(table: &[Spec]) -> Self {
        Self(document(table).to_string().into())
    }
}

impl Respond for Document {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({ "type": "object" });
        operation.responds(StatusCode::OK, "OpenAPI 3.1.", &[("application/json", schema)]);
    }

    fn into_response(self) -> Response<Body> {
        reply::encoded_json(StatusCode::OK, self.0)
    }
}

fn document(table: &[Spec]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for spec in table {
        let operation = operation(spec, &mut schemas);
        let methods = paths.entry(spec.template).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            if spec.methods().contains(&"HEAD") {
                methods.insert("head".to_owned(), head_of(&operation));
            }
            methods.insert(spec.method.to_ascii_lowercase(), operation);
        }
    }
    schemas.encoded::<Problem>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "codex-gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "OpenAI's Codex agent behind HTTP, in one process.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(),
            "responses": problems(),
            "headers": headers(),
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn operation(spec: &Spec, schemas: &mut Schemas) -> Value {
    let mut operation = Operation::new(schemas);
    (spec.describe)(&mut operation);
    let security = match spec.access {
        Access::Open => json!([]),
        Access::Key => json!([{ "apiKey": [] }, { "bearer": [] }]),
        Access::Socket => json!([{ "apiKey": [] }, { "bearer": [] }, {}]),
    };
    if spec.access != Access::Open {
        // 429: as many connections as the limit allows are in use.
        operation.fails(&[401, 403, 429]);
    }
    operation.into_value(&operation_id(spec.name), spec.summary, security)
}

/// The operation of HEAD, from that of GET: every response is without content.
fn head_of(get: &Value) -> Value {
    let mut head = get.clone();
    let id = get.get("operationId").and_then(Value::as_str).unwrap_or_default();
    if let Some(members) = head.as_object_mut() {
        members.insert("operationId".to_owned(), format!("{id}Head").into());
        members.insert("summary".to_owned(), "As GET, without the body.".into());
    }
    let responses = head.get_mut("responses").and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(Map::values_mut) {
        if response.get("$ref").is_some() {
            *response = json!({ "description": "As GET." });
        } else if let Some(members) = response.as_object_mut() {
            members.remove("content");
        }
    }
    head
}

/// `ConversationStart` → `conversationStart`
fn operation_id(route: &str) -> String {
    let mut letters = route.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// Headers of responses.
fn headers() -> Value {
    json!({
        "X-Request-Id": {
            "description": "The client's `X-Request-Id`, or a generated one.",
            "schema": { "type": "string" },
        },
        "WWW-Authenticate": {
            "description": "How to authenticate (RFC 9110, section 11.6.1).",
            "schema": { "type": "string" },
        },
        "Retry-After": {
            "description": "Seconds to wait before the next attempt.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::gateway::route::Route;
    use crate::web::describe::assert_references_resolve;

    #[test]
    fn every_route_is_described_and_references_resolve() {
        let document = document(Route::TABLE);
        let mut ids = HashSet::new();
        for spec in Route::TABLE {
            let operation = &document["paths"][spec.template][spec.method.to_ascii_lowercase()];
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{spec:?}");
            assert!(operation["summary"].as_str().unwrap().ends_with('.'), "{spec:?}");
            let declared = operation["parameters"].as_array().into_iter().flatten();
            let in_path = declared.filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(in_path, spec.template.matches('{').count(), "{spec:?}");
            let responses = operation["responses"].as_object().unwrap();
            for response in responses.values().filter(|response| response.get("$ref").is_none()) {
                let description = response["description"].as_str().unwrap();
                assert!(description.ends_with('.'), "{spec:?}: {description:?}");
            }
        }
        assert_references_resolve(&document);
    }

    #[test]
    fn types_have_distinct_schema_names() {
        // A second type of the same name would be called `Name2`.
        let document = document(Route::TABLE);
        let names = document["components"]["schemas"].as_object().unwrap().keys();
        let numbered: Vec<_> = names.filter(|name| name.ends_with(char::is_numeric)).collect();
        assert_eq!(numbered, Vec::<&String>::new());
    }
}
