//! OpenAI-compatible Chat Completions: `POST /v1/chat/completions`, streaming, with usage at the
//! end. Reasoning has the form of OpenRouter, which expects it back.

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
    let id = format!("chatcmpl-{:08x}", serial());
    let chunk = |choices: Value, usage: Value| {
        json!({ "id": id, "object": "chat.completion.chunk", "created": 1_760_000_000, "model": model,
            "service_tier": "default", "system_fingerprint": "fp_560af6e559", "choices": choices, "usage": usage })
    };
    let choice = |delta: Value, finish: Value| {
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        chunk(json!([choice]), Value::Null)
    };
    let mut deltas = vec![json!({ "role": "assistant", "content": "", "refusal": null })];
    let mut calls = 0;
    for part in parts {
        match part {
            Part::Thought { text, seal } => deltas.extend(thought(text, seal)),
            Part::Text(texts) => deltas.extend(texts.iter().map(|text| json!({ "content": text }))),
            Part::Refusal(why) => {
                deltas.extend(halves(why).map(|half| json!({ "refusal": half })));
            }
            Part::Call { id, name, arguments } => {
                deltas.extend(call(calls, id, name, arguments));
                calls += 1;
            }
            Part::Freeform { id, name, input } => {
                deltas.extend(call(calls, id, name, &json!({ "input": input })));
                calls += 1;
            }
        }
    }
    let finish = match (stop, calls) {
        (Stop::Length, _) => "length",
        (Stop::Whole, 0) => "stop",
        (Stop::Whole, _) => "tool_calls",
    };
    let mut events: Vec<Value> =
        deltas.into_iter().map(|delta| choice(delta, Value::Null)).collect();
    events.push(choice(json!({}), json!(finish)));
    events.push(chunk(
        json!([]),
        json!({ "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
            "prompt_tokens_details": { "cached_tokens": 4, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 } }),
    ));
    let mut answer = sse(&events);
    answer.body.push_str("data: [DONE]\n\n");
    answer
}

fn thought(text: &str, seal: &str) -> Vec<Value> {
    let detail = |member: &str, value: &str| json!({ "type": "reasoning.text", member: value, "format": "anthropic-claude-v1", "index": 0 });
    let mut deltas: Vec<Value> = halves(text)
        .into_iter()
        .map(|half| json!({ "content": "", "reasoning": half, "reasoning_details": [detail("text", half)] }))
        .collect();
    deltas
        .push(json!({ "content": "", "reasoning": null, "reasoning_details": [detail("signature", seal)] }));
    deltas
}

fn call(index: usize, id: &str, name: &str, arguments: &Value) -> Vec<Value> {
    let fragment = |mut call: Value| {
        call["index"] = json!(index);
        json!({ "tool_calls": [call] })
    };
    let begin =
        json!({ "id": id, "type": "function", "function": { "name": name, "arguments": "" } });
    let mut deltas = vec![fragment(begin)];
    deltas.extend(
        halves(&arguments.to_string())
            .map(|half| fragment(json!({ "function": { "arguments": half } }))),
    );
    deltas
}

pub(super) fn too_long() -> Answer {
    let message = "This model's maximum context length is 128000 tokens. However, your messages resulted in 130021 \
                   tokens. Please reduce the length of the messages.";
    let error = json!({ "message": message, "type": "invalid_request_error", "param": "messages",
                        "code": "context_length_exceeded" });
    status(400, &json!({ "error": error }))
}

pub(super) fn fails_midway() -> Value {
    json!({ "error": { "message": "Service temporarily overloaded", "type": "overloaded_error", "param": null,
                       "code": 503 } })
}
