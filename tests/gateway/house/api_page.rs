//! `docs/api.md` is made from the two tables, of REST routes and of JSON-RPC methods, by way of the
//! documents that describe them. `UPDATE_DOCS=1 cargo test --locked --test gateway api_page` writes it.

use std::fmt::Write as _;

use serde_json::Value;
use serde_json::json;

use super::sources::root;
use crate::support::Gateway;

const HEAD: &str = "\
# API

Made from the code by a test; do not edit (see `tests/gateway/house/api_page.rs`). The same, for programs: `GET /openapi.json` \
(OpenAPI 3.1) and the method `rpc.discover` (OpenRPC).

Every request but those marked open needs `X-API-Key: KEY` or `Authorization: Bearer KEY`, unless the gateway runs in development mode. \
HEAD works wherever GET does. Every response carries `X-Request-Id`. Errors are `application/problem+json` (RFC 9457): `detail` says what was expected, `retry` \
is `safe`, `unsafe` or `after`, `source` is `gateway`, `model` or `tool`.

# REST
";

const RPC_HEAD: &str = "
# JSON-RPC 2.0

`POST /jsonrpc` takes a call or a batch of up to 100; `GET /ws` takes the same as text messages, many at a time, and sends \
notifications. Params are given by name. Over a WebSocket without a key in its headers, the first message is \
`{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"auth\",\"params\":{\"api_key\":\"…\"}}`, within 10 seconds.
";

/// Follows a reference within a document.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Returns the alternatives of a schema that are not null.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let listed = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array());
    listed.into_iter().flatten().filter(|one| one["type"] != "null").collect()
}

/// Describes the values that a schema takes, in a few words.
fn values(document: &Value, schema: &Value) -> String {
    let schema = resolved(document, schema);
    let constants: Vec<String> = alternatives(schema)
        .into_iter()
        .map(|one| resolved(document, one))
        .flat_map(|one| match (&one["const"], one["enum"].as_array()) {
            (Value::Null, Some(listed)) => {
                listed.iter().map(|value| format!("`{value}`")).collect()
            }
            (Value::Null, None) => vec![values(document, one)],
            (constant, _) => vec![format!("`{constant}`")],
        })
        .collect();
    if !constants.is_empty() {
        return constants.join(", ").replace('"', "");
    }
    if let Some(listed) = schema["enum"].as_array() {
        let listed: Vec<String> = listed
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| format!("`{}`", value.to_string().trim_matches('"')))
            .collect();
        return listed.join(", ");
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    };
    let mut text = match kind.as_str() {
        "array" => format!("list of {}", values(document, &schema["items"])),
        _ => kind,
    };
    if let Some(format) = schema["format"].as_str().filter(|format| !format.contains("int")) {
        let _ = write!(text, " ({format})");
    }
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Number(least), Value::Number(most)) => {
            let _ = write!(text, ", {least} to {most}");
        }
        (Value::Number(least), _) if least.as_f64() > Some(0.0) => {
            let _ = write!(text, ", at least {least}");
        }
        _ => {}
    }
    if schema["minLength"].as_u64() == Some(1) && schema["maxLength"].is_null() {
        text.push_str(", not empty");
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        let _ =
            write!(text, ", {} to {most} characters", schema["minLength"].as_u64().unwrap_or(0));
    }
    if let Some(pattern) = schema["pattern"].as_str().filter(|_| schema["format"].is_null()) {
        let _ = write!(text, ", `{}`", pattern.replace('|', "\\|"));
    }
    text
}

/// Writes a row per member: its name, its values and its description.
fn rows(page: &mut String, document: &Value, members: &[(String, bool, &Value)]) {
    if members.is_empty() {
        return;
    }
    page.push_str("\n| field | values | |\n|---|---|---|\n");
    for (name, required, schema) in members {
        let about =
            schema["description"].as_str().or(resolved(document, schema)["description"].as_str());
        let about = about.unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let required = if *required { " (required)" } else { "" };
        let _ = writeln!(page, "| `{name}`{required} | {} | {about} |", values(document, schema));
    }
}

/// Returns the members of an object's schema: name, whether it is required, schema.
fn members<'a>(document: &'a Value, schema: &'a Value) -> Vec<(String, bool, &'a Value)> {
    let schema = resolved(document, schema);
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|required| required.iter().any(|one| one == name));
    let own = schema["properties"].as_object().into_iter().flatten();
    own.map(|(name, schema)| (name.clone(), is_required(name), schema)).collect()
}

fn rest(page: &mut String, document: &Value) {
    for (path, operations) in document["paths"].as_object().unwrap() {
        let operations = operations.as_object().unwrap().iter();
        for (method, operation) in operations.filter(|(method, _)| *method != "head") {
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            let open = if open { " (open)" } else { "" };
            let _ = writeln!(page, "\n## `{} {path}`{open}\n", method.to_uppercase());
            let _ = writeln!(page, "{}", operation["summary"].as_str().unwrap());
            let parameters: Vec<(String, bool, &Value)> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| {
                    let name = one["name"].as_str().unwrap();
                    (
                        format!("{name}` in `{}", one["in"].as_str().unwrap()),
                        one["required"] == true,
                        one,
                    )
                })
                .collect();
            parameter_rows(page, document, &parameters);
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !body.is_null() {
                rows(page, document, &members(document, body));
            }
            page.push('\n');
            responses(page, operation["responses"].as_object().unwrap());
        }
    }
}

/// Writes a line per response, and one for all that are problem documents.
fn responses(page: &mut String, responses: &serde_json::Map<String, Value>) {
    let mut problems = Vec::new();
    for (status, response) in responses {
        if response.get("$ref").is_some() {
            problems.push(status.as_str());
            continue;
        }
        let types = response["content"].as_object().into_iter().flatten();
        let types: Vec<String> = types.map(|(name, _)| format!(" `{name}`")).collect();
        let about = response["description"].as_str().unwrap();
        let _ = writeln!(page, "- {status}{}: {about}", types.join(","));
    }
    problems.retain(|status| *status != "default");
    if !problems.is_empty() {
        let _ = writeln!(page, "- problems: {}", problems.join(", "));
    }
}

/// Writes the table of problem documents.
fn problems(page: &mut String, document: &Value) {
    page.push_str("\n| problem | |\n|---|---|\n");
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let about = response["description"].as_str().unwrap();
        let _ = writeln!(page, "| {} | {about} |", name.trim_start_matches("Problem"));
    }
}

fn parameter_rows(page: &mut String, document: &Value, parameters: &[(String, bool, &Value)]) {
    if parameters.is_empty() {
        return;
    }
    page.push_str("\n| parameter | values | |\n|---|---|---|\n");
    for (name, required, parameter) in parameters {
        let about = parameter["description"].as_str().unwrap_or_default();
        let required = if *required { " (required)" } else { "" };
        let values = values(document, &parameter["schema"]);
        let _ = writeln!(page, "| `{name}`{required} | {values} | {about} |");
    }
}

fn rpc(page: &mut String, document: &Value) {
    for method in document["methods"].as_array().unwrap() {
        let _ = writeln!(page, "\n## `{}`\n", method["name"].as_str().unwrap());
        let _ = writeln!(page, "{}", method["summary"].as_str().unwrap());
        if method["x-transport"] == json!(["websocket"]) {
            page.push_str("Over `GET /ws` only.\n");
        }
        let notifications: Vec<String> = method["x-notifications"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| format!("`{}`", name.as_str().unwrap()))
            .collect();
        if !notifications.is_empty() {
            let _ = writeln!(page, "Notifications: {}.", notifications.join(", "));
        }
        let params: Vec<(String, bool, &Value)> = method["params"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| {
                let name = one["name"].as_str().unwrap().to_owned();
                (name, one["required"] == true, &one["schema"])
            })
            .collect();
        rows(page, document, &params);
        let result = &method["result"]["schema"];
        let members = members(document, result);
        if !members.is_empty() {
            let names: Vec<String> = members.iter().map(|(name, ..)| format!("`{name}`")).collect();
            let _ = writeln!(page, "\nResult: {}.", names.join(", "));
        }
    }
}

#[tokio::test]
async fn api_page_is_made_from_the_tables() {
    let gateway = Gateway::start();
    let mut page = HEAD.to_owned();
    let openapi = gateway.get("/openapi.json").await.json();
    problems(&mut page, &openapi);
    rest(&mut page, &openapi);
    page.push_str(RPC_HEAD);
    rpc(&mut page, &gateway.rpc("rpc.discover", json!({})).await["result"]);
    let path = root().join("docs/api.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "docs/api.md: run with UPDATE_DOCS=1 to write it anew");
}
