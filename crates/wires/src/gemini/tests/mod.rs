//! Requests as core writes them and chunks as Gemini sends them, shared by the tests of this wire.

mod requests;
mod streams;

use serde_json::Value;
use serde_json::json;

use super::Gemini;
use crate::Event;
use crate::Wire;
use crate::WireError;

const NEW: &str = "gemini-3-pro-preview";
const OLD: &str = "gemini-2.5-pro";

/// A request with `input` for `model`.
fn ask(model: &str, input: Value) -> Value {
    json!({"model": model, "instructions": "Be brief.", "input": input, "tool_choice": "auto", "stream": true})
}

fn with(mut ask: Value, key: &str, value: Value) -> Value {
    ask[key] = value;
    ask
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

fn assistant(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "name": "weather", "arguments": arguments, "call_id": id})
}

fn output(id: &str, output: Value) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": output})
}

fn weather() -> Value {
    json!({"type": "function", "name": "weather", "description": "The weather", "strict": false,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}})
}

fn patch() -> Value {
    json!({"type": "custom", "name": "apply_patch", "description": "Edits files",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"*\""}})
}

fn carried(model: &str, blocks: Value) -> Value {
    let text = json!({"wire": "gemini", "model": model, "blocks": blocks}).to_string();
    json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": text})
}

fn body(ask: &Value) -> Value {
    Gemini.encode(ask).unwrap().body
}

#[track_caller]
fn contents(model: &str, input: Value, expected: Value) {
    assert_eq!(body(&ask(model, input))["contents"], expected);
}

/// Everything that a stream of chunks becomes.
fn decode(ask: &Value, chunks: &[Value]) -> Result<Vec<Value>, WireError> {
    let mut decoder = Gemini.decoder(ask, "p");
    let mut events = Vec::new();
    for chunk in chunks {
        events.extend(values(&decoder.event("message", &chunk.to_string())?));
    }
    events.extend(values(&decoder.end()?));
    Ok(events)
}

fn chunk(parts: Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}], "responseId": "r1"})
}

fn stop(reason: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": 29, "cachedContentTokenCount": 9, "candidatesTokenCount": 15,
            "toolUsePromptTokenCount": 1, "thoughtsTokenCount": 804, "totalTokenCount": 849},
        "modelVersion": NEW, "responseId": "r1"})
}

fn items(events: &[Value]) -> Vec<Value> {
    let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
    done.map(|event| event["item"].clone()).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap().trim_start_matches("response."))
        .collect()
}

fn values(events: &[Event]) -> Vec<Value> {
    events.iter().map(Event::to_value).collect()
}
