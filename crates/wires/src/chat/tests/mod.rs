//! What the tests of this wire share: requests as core writes them, streams as servers send them.

mod anything;
mod requests;
mod streams;

use serde_json::Value;
use serde_json::json;

use super::Chat;
use crate::Event;
use crate::Wire;
use crate::WireError;

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

fn said(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

fn call(id: &str, name: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": name, "arguments": "{\"a\":1}"})
}

fn result(id: &str, output: Value) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": output})
}

fn chat_call(id: &str, name: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{\"a\":1}"}})
}

fn tool(id: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

/// A request as core writes it.
fn ask(input: Value) -> Value {
    json!({"model": "m", "instructions": "Be brief.", "input": input, "tool_choice": "auto",
    "parallel_tool_calls": true, "reasoning": null, "store": false, "stream": true,
    "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
    "tools": [
        {"type": "function", "name": "shell", "description": "Runs.", "strict": false,
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        {"type": "custom", "name": "apply_patch", "description": "Patches.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
        {"type": "web_search"},
        {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}},
        {"type": "namespace", "name": "mcp__mail", "description": "Mail.", "tools": [
            {"type": "function", "name": "send", "description": "Sends.", "parameters": {"type": "object"}},
            {"type": "function", "name": "read", "description": "Reads.", "strict": true,
                "parameters": {"type": "object"}}]},
    ]})
}

fn body(ask: &Value) -> Value {
    Chat.encode(ask).expect("a request that this API can express").body
}

/// Checks the messages after the system message.
fn check(input: Value, expected: Value) {
    let body = body(&ask(input));
    let messages = body["messages"].as_array().expect("messages");
    assert_eq!(messages[0], json!({"role": "system", "content": "Be brief."}));
    assert_eq!(Value::Array(messages[1..].to_vec()), expected);
}

fn read(ask: &Value, events: &[Value]) -> Result<Vec<Value>, WireError> {
    let mut decoder = Chat.decoder(ask, "p");
    let mut out = Vec::new();
    for event in events {
        let data = event.as_str().map_or_else(|| event.to_string(), str::to_owned);
        out.extend(values(&match data.as_str() {
            "[DONE]" => decoder.done()?,
            data => decoder.event("message", data)?,
        }));
    }
    out.extend(values(&decoder.end()?));
    Ok(out)
}

fn values(events: &[Event]) -> Vec<Value> {
    events.iter().map(Event::to_value).collect()
}

fn chunk(delta: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}], "usage": null})
}

fn finish(reason: &str) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason}]})
}

fn done() -> Value {
    json!("[DONE]")
}

/// The events without ids, which are of each answer its own.
fn shape(events: &[Value]) -> Vec<String> {
    let short = |event: &Value| {
        let what = event["type"].as_str().expect("a type").trim_start_matches("response.");
        let item = &event["item"];
        let text = [
            &event["delta"],
            &item["content"][0]["text"],
            &item["summary"][0]["text"],
            &item["arguments"],
        ];
        let text = text.into_iter().find_map(Value::as_str).unwrap_or_default();
        format!("{what} {} {text}", item["type"].as_str().unwrap_or_default()).trim_end().to_owned()
    };
    events.iter().map(short).collect()
}

fn done_items(events: &[Value]) -> Vec<Value> {
    let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
    done.map(|event| event["item"].clone()).collect()
}

fn only_call(ask: &Value, name: &str, arguments: &str) -> Value {
    let call = json!({"tool_calls": [{"index": 0, "id": "c9", "type": "function",
        "function": {"name": name, "arguments": arguments}}]});
    let events = read(ask, &[chunk(call), finish("tool_calls"), done()]).expect("an answer");
    let items = done_items(&events);
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["call_id"], "c9");
    items[0].clone()
}
