//! Requests as core writes them, shared by the tests of this wire.

mod requests;
mod streams;

use serde_json::Value;
use serde_json::json;

use super::Anthropic;
use crate::Event;
use crate::Wire;
use crate::WireError;

const OLD: &str = "claude-sonnet-4-5";
const NEW: &str = "claude-opus-4-8";
const BOUND: &str = "claude-opus-5-5";

fn ask(input: Value) -> Value {
    json!({"model": NEW, "instructions": "Be brief.", "input": input, "tools": tools(), "tool_choice": "auto",
        "parallel_tool_calls": true, "reasoning": {}, "store": false, "stream": true, "include": []})
}

fn tools() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]});
    json!([
        {"type": "function", "name": "shell", "description": "Runs a command.", "strict": false, "parameters": parameters},
        {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
        {"type": "web_search"},
        {"type": "namespace", "name": "mcp__mail", "description": "Mail.", "tools": [
            {"type": "function", "name": "send", "description": "Sends.", "strict": false, "parameters": parameters},
            {"type": "function", "name": "read", "description": "Reads.", "strict": false, "parameters": parameters}]},
    ])
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

fn assistant(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

fn call(id: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "shell", "arguments": "{\"cmd\":\"ls\"}"})
}

fn output(id: &str, output: impl Into<Value>) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": output.into()})
}

fn used(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "shell", "input": {"cmd": "ls"}})
}

fn result(id: &str, text: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": text}]})
}

fn says(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn thought(text: &str) -> Value {
    json!({"type": "thinking", "thinking": text, "signature": "c2ln"})
}

fn reasoning(model: &str, block: &Value) -> Value {
    let carried = json!({"wire": "anthropic", "model": model, "blocks": [block]}).to_string();
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": carried})
}

fn body(ask: &Value) -> Value {
    Anthropic.encode(ask).unwrap().body
}

/// The messages without cache marks, as pairs of role and content.
fn turns(ask: &Value) -> Vec<(String, Vec<Value>)> {
    let mut messages = body(ask)["messages"].clone();
    let mut turns = Vec::new();
    for message in messages.as_array_mut().unwrap() {
        let mut content = message["content"].as_array().unwrap().clone();
        for block in &mut content {
            block.as_object_mut().unwrap().remove("cache_control");
        }
        turns.push((message["role"].as_str().unwrap().to_owned(), content));
    }
    turns
}

#[track_caller]
fn becomes(input: Value, expected: &[(&str, Vec<Value>)]) {
    let expected: Vec<_> =
        expected.iter().map(|(role, content)| (role.to_string(), content.clone())).collect();
    assert_eq!(turns(&ask(input)), expected);
}

fn values(events: &[Event]) -> Vec<Value> {
    events.iter().map(Event::to_value).collect()
}
