//! `GET /openapi.json`: the endpoints as an OpenAPI 3.1 document, made from [`Route::TABLE`], a
//! description per route that no route can do without, and the schema of the request that is really
//! decoded. (The methods of `/jsonrpc` and `/ws` describe themselves with `rpc.discover`.)

use std::sync::LazyLock;

use codex_gateway_engine::approval;
use http::Method;
use http::Response;
use http::StatusCode;
use schemars::JsonSchema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::access::Access;
use crate::api::conversations::Archived;
use crate::api::conversations::Document;
use crate::api::conversations::Page;
use crate::api::conversations::Start;
use crate::api::conversations::act;
use crate::api::conversations::look;
use crate::api::prompt::PromptRequest;
use crate::api::route::Action;
use crate::api::route::Route;
use crate::api::task::Task;
use crate::web::Body;
use crate::web::reply;

/// Stands for any conversation where a template becomes a route.
const ANY_ID: &str = "00000000-0000-0000-0000-000000000000";

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// `GET /openapi.json`
pub fn show() -> Response<Body> {
    reply::json(StatusCode::OK, &*DOCUMENT)
}

/// What is said of a route.
struct Operation {
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    /// The schema of the JSON body.
    body: Option<BodySchema>,
    answers: &'static [Answer],
}

type BodySchema = fn(&mut SchemaGenerator) -> Value;

/// A parameter: where, name, schema, description.
type Parameter = (&'static str, &'static str, &'static str, &'static str);

/// An answer: status, media types with the name of a schema each, description.
type Answer = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const EVENTS: &[(&str, &str)] = &[
    ("application/x-ndjson", "Event"),
    ("application/jsonl", "Event"),
    ("text/event-stream", "Event"),
];
const ID: Parameter = ("path", "id", "uuid", "The conversation.");
const TIED: Parameter =
    ("header", "X-Cancel-On-Disconnect", "boolean", "Stop the turn when this connection ends.");

fn schema<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn prompt(schemas: &mut SchemaGenerator) -> Value {
    schema::<PromptRequest>(schemas)
}

fn call(_: &mut SchemaGenerator) -> Value {
    json!({
        "description": "A call of JSON-RPC 2.0, or a batch of 1 to 100. rpc.discover lists the methods.",
        "oneOf": [
            { "$ref": "#/components/schemas/Call" },
            { "type": "array", "items": { "$ref": "#/components/schemas/Call" }, "minItems": 1 },
        ],
    })
}

fn say(
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    body: Option<BodySchema>,
    answers: &'static [Answer],
) -> Operation {
    Operation { id, summary, parameters, body, answers }
}

/// One per route, or this does not compile.
fn describe(route: &Route) -> Operation {
    match route {
        Route::Health => say(
            "health",
            "Version, model, sandbox and load; OK for Accept: text/plain.",
            &[],
            None,
            &[("200", &[("application/json", "Object"), ("text/plain", "Text")], "It is well.")],
        ),
        Route::Live => say(
            "healthLive",
            "The process runs.",
            &[],
            None,
            &[("200", &[("application/json", "Object")], "It runs.")],
        ),
        Route::Ready => say(
            "healthReady",
            "It takes requests.",
            &[],
            None,
            &[("200", &[("application/json", "Object")], "It does.")],
        ),
        Route::OpenApi => say(
            "openapi",
            "This document.",
            &[],
            None,
            &[("200", &[("application/json", "Object")], "OpenAPI 3.1.")],
        ),
        Route::Metrics => say(
            "metrics",
            "Every metric, in Prometheus's text format.",
            &[],
            None,
            &[("200", &[("text/plain", "Text")], "docs/telemetry.md lists them.")],
        ),
        Route::Exec => say(
            "exec",
            "Runs a prompt; core's events as they happen, as JSON lines or SSE by Accept.",
            &[TIED],
            Some(prompt),
            &[("200", EVENTS, "One event a line; the last one ends the turn.")],
        ),
        Route::ExecTask => say(
            "execTask",
            "Runs a prompt, waits, and answers one document.",
            &[TIED],
            Some(prompt),
            &[("200", &[("application/json", "Task")], "What the turn came to.")],
        ),
        Route::ExecStream => say(
            "execStream",
            "Runs a prompt; the task view of its turn, as SSE.",
            &[TIED],
            Some(prompt),
            &[(
                "200",
                &[("text/event-stream", "Text")],
                "task_started, task_progress, stdout_line, stderr_line, task_result, task_completed, \
                     error.",
            )],
        ),
        Route::Conversations => say(
            "conversations",
            "The conversations, newest first, a page at a time.",
            &[
                ("query", "cursor", "string", "next_cursor of the page before."),
                ("query", "limit", "integer", "1 to 100; 20 unless it is told."),
                (
                    "query",
                    "status",
                    "string",
                    "Only those that are idle, running, waiting_approval or closed.",
                ),
            ],
            None,
            &[("200", &[("application/json", "Page")], "A page.")],
        ),
        Route::ConversationStart => say(
            "conversationStart",
            "Starts a conversation; with a prompt, begins its turn and does not wait for it.",
            &[],
            Some(schema::<Start>),
            &[("201", &[("application/json", "Document")], "The conversation.")],
        ),
        Route::ConversationArchive(_) => say(
            "conversationArchive",
            "Ends a conversation and puts its record into the archive.",
            &[ID],
            None,
            &[("200", &[("application/json", "Archived")], "It is there.")],
        ),
        Route::ConversationAct(_, action) => describe_action(*action),
        Route::ConversationHistory(_) => say(
            "conversationHistory",
            "What is recorded of a conversation, turn by turn.",
            &[ID],
            None,
            &[("200", &[("application/json", "History")], "Its turns.")],
        ),
        Route::ConversationDiff(_) => say(
            "conversationDiff",
            "What the newest turn changed.",
            &[ID],
            None,
            &[("200", &[("application/json", "Diff")], "A unified diff.")],
        ),
        Route::Approvals(_) => say(
            "approvals",
            "What the running turn waits for.",
            &[ID],
            None,
            &[("200", &[("application/json", "Approvals")], "The questions, oldest first.")],
        ),
        Route::Approve(..) => say(
            "approve",
            "Decides what the running turn waits for.",
            &[ID, ("path", "approval_id", "string", "The question.")],
            Some(schema::<approval::Answer>),
            &[("200", &[("application/json", "Decided")], "The turn goes on.")],
        ),
        Route::Conversation(_) => say(
            "conversation",
            "Status, model, folder, usage and newest event of a conversation.",
            &[ID],
            None,
            &[("200", &[("application/json", "Document")], "The conversation.")],
        ),
        Route::ConversationEvents(_) => say(
            "conversationEvents",
            "The events of a conversation, from any number on.",
            &[
                ID,
                ("query", "after", "integer", "The newest event that the client has; 0 for all."),
                ("query", "follow", "boolean", "Stay for what comes."),
                ("header", "Last-Event-ID", "integer", "Wins over after."),
            ],
            None,
            &[("200", EVENTS, "One event a line.")],
        ),
        Route::JsonRpc => say(
            "jsonrpc",
            "JSON-RPC 2.0: a call or a batch.",
            &[TIED],
            Some(call),
            &[
                ("200", &[("application/json", "Answer")], "An answer, or a list of them."),
                ("202", &[], "Nothing but notifications: nothing to answer."),
            ],
        ),
        Route::Socket => say(
            "socket",
            "JSON-RPC 2.0 over a WebSocket, with notifications.",
            &[TIED],
            None,
            &[("101", &[], "The socket is open. Without a key in a header, auth comes first.")],
        ),
    }
}

fn describe_action(action: Action) -> Operation {
    match action {
        Action::Turns => say(
            "conversationTurn",
            "Runs a prompt in the conversation; as /exec.",
            &[ID, TIED],
            Some(prompt),
            &[("200", EVENTS, "One event a line; the last one ends the turn.")],
        ),
        Action::Interrupt => say(
            "conversationInterrupt",
            "Stops the running turn and answers when it has stopped.",
            &[ID],
            None,
            &[("200", &[("application/json", "Cancelled")], "Whether a turn was stopped.")],
        ),
        Action::Steer => say(
            "conversationSteer",
            "Adds a prompt to the running turn.",
            &[ID],
            Some(schema::<act::Steer>),
            &[("200", &[("application/json", "Steered")], "Whether it was added.")],
        ),
        Action::Fork => say(
            "conversationFork",
            "Starts another conversation with the history of this one.",
            &[ID],
            Some(schema::<act::Fork>),
            &[("201", &[("application/json", "Document")], "The new conversation.")],
        ),
        Action::Resume => say(
            "conversationResume",
            "Takes the conversation up again from disk, also out of the archive.",
            &[ID],
            None,
            &[("200", &[("application/json", "Document")], "The conversation.")],
        ),
        Action::Compact => say(
            "conversationCompact",
            "Sums up the history to make room for more.",
            &[ID],
            None,
            &[("200", &[("application/json", "Ended")], "What the turn came to.")],
        ),
        Action::Rollback => say(
            "conversationRollback",
            "Takes the last turns out of what the model remembers.",
            &[ID],
            Some(schema::<act::Rollback>),
            &[("200", &[("application/json", "RolledBack")], "They are out.")],
        ),
        Action::Review => say(
            "conversationReview",
            "Has the agent review code; answers when it is done.",
            &[ID],
            Some(schema::<act::ReviewRequest>),
            &[("200", &[("application/json", "Ended")], "What the turn came to.")],
        ),
    }
}

/// The types that answers refer to by name.
fn answer_types(schemas: &mut SchemaGenerator) {
    schema::<Task>(schemas);
    schema::<Document>(schemas);
    schema::<Page>(schemas);
    schema::<Archived>(schemas);
    schema::<act::Cancelled>(schemas);
    schema::<act::Steered>(schemas);
    schema::<act::Ended>(schemas);
    schema::<act::RolledBack>(schemas);
    schema::<look::History>(schemas);
    schema::<look::Diff>(schemas);
    schema::<look::Approvals>(schemas);
    schema::<look::Decided>(schemas);
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for (method, template) in Route::TABLE {
        let path = template.replace("{id}", ANY_ID).replace("{approval_id}", "any");
        let route = Method::from_bytes(method.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|method| Route::parse(&method, &path).map_err(|error| error.to_string()))
            .expect("a route of the table parses; a test checks");
        let methods = paths.entry(template).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(method.to_ascii_lowercase(), operation(&route, &mut schemas));
        }
    }
    answer_types(&mut schemas);
    let mut components = own_schemas();
    components.extend(schemas.take_definitions(true));
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
            "schemas": components,
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let Operation { id, summary, parameters, body, answers } = describe(route);
    let mut operation = Map::new();
    operation.insert("operationId".into(), id.into());
    operation.insert("summary".into(), summary.into());
    let security = match route.access() {
        Access::Open => json!([]),
        Access::Key => json!([{ "apiKey": [] }, { "bearer": [] }]),
        Access::Socket => json!([{ "apiKey": [] }, { "bearer": [] }, {}]),
    };
    operation.insert("security".into(), security);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.iter().copied().map(parameter).collect());
    }
    if let Some(schema) = body {
        let content = json!({ "application/json": { "schema": schema(schemas) } });
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    let responses = answers
        .iter()
        .map(|(status, types, description)| ((*status).to_owned(), response(description, types)));
    let problem = response(
        "A problem (RFC 9457): what was expected.",
        &[("application/problem+json", "Problem")],
    );
    let responses = responses.chain([("default".to_owned(), problem)]);
    operation.insert("responses".into(), responses.collect::<Map<_, _>>().into());
    operation.into()
}

fn response(description: &str, types: &[(&str, &str)]) -> Value {
    let mut response = Map::new();
    response.insert("description".into(), description.into());
    if !types.is_empty() {
        let types = types.iter().map(|(media, schema)| content(media, schema));
        response.insert("content".into(), types.collect::<Map<_, _>>().into());
    }
    response.into()
}

fn content(media: &str, schema: &str) -> (String, Value) {
    let reference = format!("#/components/schemas/{schema}");
    (media.to_owned(), json!({ "schema": { "$ref": reference } }))
}

fn parameter((place, name, schema, description): Parameter) -> Value {
    let schema = match schema {
        "uuid" => json!({ "type": "string", "format": "uuid" }),
        "integer" => json!({ "type": "integer", "minimum": 0 }),
        other => json!({ "type": other }),
    };
    json!({
        "in": place,
        "name": name,
        "schema": schema,
        "description": description,
        "required": place == "path",
    })
}

/// The schemas of what is not decoded or encoded through a type of its own.
fn own_schemas() -> Map<String, Value> {
    let string = || json!({ "type": "string" });
    let schemas = json!({
        "Text": string(),
        "Object": { "type": "object" },
        "Event": {
            "type": "object",
            "description": "An event of codex-core, with two members in front.",
            "required": ["seq", "conversation_id", "id", "msg"],
            "properties": {
                "seq": { "type": "integer", "description": "Its number in the conversation." },
                "conversation_id": string(),
                "id": { "type": "string", "description": "The submission that it belongs to." },
                "msg": {
                    "type": "object",
                    "required": ["type"],
                    "properties": { "type": string() },
                    "description": "Core's own; types that begin with gateway_ are the gateway's.",
                },
            },
        },
        "Call": {
            "type": "object",
            "required": ["jsonrpc", "method"],
            "properties": {
                "jsonrpc": { "const": "2.0" },
                "id": { "type": ["string", "number", "null"] },
                "method": string(),
                "params": { "type": "object" },
            },
        },
        "Answer": { "type": ["object", "array"] },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code", "request_id", "retry", "source"],
            "properties": {
                "type": string(),
                "title": string(),
                "status": { "type": "integer" },
                "detail": { "type": "string", "description": "What was expected." },
                "instance": string(),
                "code": string(),
                "request_id": string(),
                "retry": { "enum": ["safe", "unsafe", "after"] },
                "source": { "enum": ["gateway", "model", "tool"] },
            },
        },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

#[cfg(test)]
pub(crate) fn assert_references_resolve(document: &Value) {
    fn walk(value: &Value, document: &Value) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        match value {
            Value::Array(values) => values.iter().for_each(|value| walk(value, document)),
            Value::Object(members) => members.values().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    walk(document, document);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_resolves() {
        let document = document();
        let mut ids = std::collections::HashSet::new();
        for (method, template) in Route::TABLE {
            let operation = &document["paths"][template][method.to_ascii_lowercase()];
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{template}");
            assert!(operation["summary"].as_str().unwrap().ends_with('.'), "{template}");
            let declared = operation["parameters"].as_array().into_iter().flatten();
            let in_path = declared.filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(in_path, template.matches('{').count(), "{template}");
        }
        assert_references_resolve(&document);
    }
}
