//! What is decoded is what the schemas say: each body and each method's params, with an unknown
//! member, as a list, and with members of other types.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;

/// Follows a reference within a document.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// The path of a route, with the id of a conversation.
fn path(template: &str, id: &str) -> String {
    template.replace("{id}", id).replace("{approval_id}", "x")
}

/// Every route with a typed body: its method, path and the schema of its body.
fn bodies(document: &Value) -> Vec<(String, String, &Value)> {
    let mut bodies = Vec::new();
    for (template, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !schema.is_null() && template != "/jsonrpc" {
                let schema = resolved(document, schema);
                bodies.push((method.to_uppercase(), template.clone(), schema));
            }
        }
    }
    assert!(bodies.len() >= 10, "{}", bodies.len());
    bodies
}

/// Values that a schema does not take, by its type; `None` where it takes anything.
fn wrong_value(document: &Value, schema: &Value) -> Option<Value> {
    let schema = resolved(document, schema);
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("string") => Some(json!({ "approved": null })),
        Some("integer") => Some(json!(1.5)),
        Some("boolean") => Some(json!("true")),
        Some("array") => Some(json!({})),
        Some("object") => Some(json!(["custom", "look"])),
        Some(_) => None,
        // Alternatives: each is an object, a string or null.
        None => (schema["anyOf"].is_array() || schema["oneOf"].is_array()).then(|| json!([1, 2])),
    }
}

#[tokio::test]
async fn bodies_take_only_what_they_describe() {
    let gateway = Gateway::start();
    let document = gateway.get("/openapi.json").await.json();
    let started = gateway.post("/api/v1/conversations", json!({})).await.json();
    let id = started["conversation_id"].as_str().unwrap();
    for (method, template, schema) in bodies(&document) {
        assert_eq!(schema["additionalProperties"], false, "{template}");
        let path = path(&template, id);
        let send = async |body: Value| {
            let body = body.to_string();
            let headers = [("content-type", "application/json")];
            let response = gateway.send(&method, &path, &headers, body.as_bytes()).await;
            (response.status, response.json())
        };
        let (status, refusal) = send(json!({ "frobnicate": 1 })).await;
        assert_eq!(status, 400, "{path}");
        assert!(refusal["detail"].as_str().unwrap().starts_with("frobnicate: "), "{refusal}");
        for list in [json!([]), json!([null, null, null, null, null, null, null, null])] {
            let (status, refusal) = send(list).await;
            assert_eq!(status, 400, "{path}");
            assert_eq!(refusal["detail"], "expected an object, got a list", "{path}");
        }
        for (name, member) in schema["properties"].as_object().unwrap() {
            let Some(wrong) = wrong_value(&document, member) else { continue };
            let (status, refusal) = send(json!({ name.as_str(): wrong })).await;
            let detail = refusal["detail"].as_str().unwrap();
            assert_eq!((status, &refusal["code"]), (400, &json!("invalid_request")), "{refusal}");
            assert!(detail.starts_with(&format!("{name}: expected ")), "{path} {name}: {detail}");
            assert_is_plain(detail);
        }
    }
}

#[tokio::test]
async fn params_take_only_what_they_describe() {
    let gateway = Gateway::start();
    let document = &gateway.rpc("rpc.discover", json!({})).await["result"];
    for method in document["methods"].as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        let refused = async |params: Value, begins: &str| {
            let answer = gateway.rpc(name, params.clone()).await;
            assert_eq!(answer["error"]["code"], -32602, "{name} {params}: {answer}");
            let detail = answer["error"]["data"]["detail"].as_str().unwrap();
            assert!(detail.starts_with(begins), "{name} {params}: {detail}");
            assert_is_plain(detail);
        };
        refused(json!({ "frobnicate": 1 }), "frobnicate: ").await;
        for param in method["params"].as_array().unwrap() {
            let field = param["name"].as_str().unwrap();
            // Read by hand, once the others are there.
            if ["credentials", "query"].contains(&field) {
                continue;
            }
            let Some(wrong) = wrong_value(document, &param["schema"]) else { continue };
            refused(json!({ field: wrong }), &format!("{field}: expected ")).await;
        }
    }
}

/// Asserts that an error says nothing of Rust's types and of the parser.
fn assert_is_plain(detail: &str) {
    for word in ["struct ", "enum ", "u64", "Some(", "variant", "missing field", " at line "] {
        assert!(!detail.contains(word), "{detail}");
    }
}

#[tokio::test]
async fn spellings_of_codex_are_aliases() {
    let gateway = Gateway::start();
    let body = json!({ "sandbox_mode": "read-only", "approvalPolicy": "never" });
    let started = gateway.post("/api/v1/conversations", body).await;
    assert_eq!(started.status, 201, "{}", started.text());
    assert_eq!(started.json()["sandbox"], "read-only");
    let both = json!({ "sandbox_mode": "read-only", "sandbox": "workspace-write" });
    let refused = gateway.post("/api/v1/conversations", both).await;
    assert!(
        refused.text().contains("sandbox: expected it once, got it twice"),
        "{}",
        refused.text()
    );
    let near = gateway.post("/exec", json!({ "prompt": "say: x", "sessionId": "a" })).await;
    assert!(near.text().contains("did you mean session_id?"), "{}", near.text());
}

#[tokio::test]
async fn names_that_no_file_system_takes_are_refused() {
    let gateway = Gateway::start();
    for cwd in ["a\u{0}b", &"x".repeat(300), &"x/".repeat(2000), &"é".repeat(200)] {
        let refused = gateway.post("/api/v1/conversations", json!({ "cwd": cwd })).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("cwd: expected"), "{}", refused.text());
        for method in ["exec", "interactive.start", "conversation.prompt"] {
            let params = json!({ "command": "true", "prompt": "x", "cwd": cwd });
            let mut params = params.as_object().unwrap().clone();
            params.retain(|name, _| match name.as_str() {
                "command" => method == "exec",
                "prompt" => method == "conversation.prompt",
                _ => true,
            });
            gateway.assert_rpc_error(method, params.into(), -32602, "cwd: expected").await;
        }
    }
}
