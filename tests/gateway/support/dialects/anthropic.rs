//! Anthropic's Messages API: `POST /v1/messages`, streaming.

use serde_json::Value;
use serde_json::json;

use super::Part;
use super::Stop;
use super::halves;
use super::serial;
use crate::support::provider::Answer;
use crate::support::provider::sse;
use crate::support::provider::status;

pub(super) fn say(model: &str, parts: &[Part], stop: Stop) -> Answer {
    let usage = json!({ "input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
        "cache_creation": { "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0 },
        "output_tokens": 1, "service_tier": "standard" });
    let mut events = vec![json!({ "type": "message_start", "message": {
        "id": format!("msg_{:08x}", serial()), "type": "message", "role": "assistant", "model": model,
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage } })];
    let mut stop_reason = "end_turn";
    let mut stop_details = Value::Null;
    for (index, part) in parts.iter().enumerate() {
        let (block, deltas) = match part {
            Part::Thought { text, seal } => thinking(text, seal),
            Part::Text(texts) => (
                json!({ "type": "text", "text": "" }),
                texts.iter().map(|text| json!({ "type": "text_delta", "text": text })).collect(),
            ),
            Part::Call { id, name, arguments } => {
                stop_reason = "tool_use";
                tool_use(id, name, arguments)
            }
            Part::Freeform { id, name, input } => {
                stop_reason = "tool_use";
                tool_use(id, name, &json!({ "input": input }))
            }
            // The answer ends at the refusal; its explanation stands in the last delta.
            Part::Refusal(why) => {
                stop_reason = "refusal";
                stop_details =
                    json!({ "type": "refusal", "category": "cyber", "explanation": why });
                continue;
            }
        };
        events
            .push(json!({ "type": "content_block_start", "index": index, "content_block": block }));
        if index == 0 {
            events.push(json!({ "type": "ping" }));
        }
        events.extend(
            deltas.into_iter().map(
                |delta| json!({ "type": "content_block_delta", "index": index, "delta": delta }),
            ),
        );
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    if stop == Stop::Length {
        stop_reason = "max_tokens";
    }
    events.push(json!({ "type": "message_delta",
        "delta": { "stop_reason": stop_reason, "stop_sequence": null, "stop_details": stop_details },
        "usage": { "input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
                   "output_tokens": 2 } }));
    events.push(json!({ "type": "message_stop" }));
    sse(&events)
}

fn thinking(text: &str, seal: &str) -> (Value, Vec<Value>) {
    let block = json!({ "type": "thinking", "thinking": "", "signature": "" });
    let mut deltas: Vec<Value> = halves(text)
        .into_iter()
        .map(|half| json!({ "type": "thinking_delta", "thinking": half }))
        .collect();
    deltas.push(json!({ "type": "signature_delta", "signature": seal }));
    (block, deltas)
}

fn tool_use(id: &str, name: &str, input: &Value) -> (Value, Vec<Value>) {
    let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
    let input = input.to_string();
    let [head, tail] = halves(&input);
    // The first delta of every input is empty.
    let deltas =
        ["", head, tail].map(|piece| json!({ "type": "input_json_delta", "partial_json": piece }));
    (block, deltas.to_vec())
}

pub(super) fn too_long() -> Answer {
    let error = json!({ "type": "invalid_request_error",
                        "message": "prompt is too long: 208310 tokens > 200000 maximum" });
    status(
        400,
        &json!({ "type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy" }),
    )
}

pub(super) fn fails_midway() -> Value {
    let error = json!({ "type": "overloaded_error", "message": "Overloaded" });
    json!({ "type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy" })
}
