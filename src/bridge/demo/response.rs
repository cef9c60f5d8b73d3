//! How the demo model says it: the events of a Responses stream.

use std::time::Duration;

use futures::Stream;
use serde_json::Value;
use serde_json::json;

use super::script::Reply;
use crate::bridge::backend::Event;

/// The events of one response. `request_bytes` stands in for a count of input tokens.
pub(super) fn events(
    reply: Reply,
    request_bytes: usize,
) -> impl Stream<Item = Event> + Send + use<> {
    let response_id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    let item_id = format!("item_{}", uuid::Uuid::now_v7().simple());
    async_stream::stream! {
        yield Event::of(&json!({ "type": "response.created", "response": { "id": response_id } }));
        let mut output_tokens = 8;
        match reply {
            Reply::Call { name, arguments } => {
                yield done(&json!({
                    "type": "function_call",
                    "id": item_id,
                    "call_id": call_id(),
                    "name": name,
                    "arguments": arguments.to_string(),
                }));
            }
            Reply::CallIn { namespace, name, arguments } => {
                yield done(&json!({
                    "type": "function_call",
                    "id": item_id,
                    "call_id": call_id(),
                    "namespace": namespace,
                    "name": name,
                    "arguments": arguments.to_string(),
                }));
            }
            Reply::Patch(input) => {
                yield done(&json!({
                    "type": "custom_tool_call",
                    "id": item_id,
                    "call_id": call_id(),
                    "name": "apply_patch",
                    "input": input,
                }));
            }
            Reply::Text(_) | Reply::Deltas(_) | Reply::Slow { .. } => {
                let (deltas, pause) = deltas(reply);
                yield Event::of(&json!({
                    "type": "response.output_item.added",
                    "output_index": 0,
                    "item": { "type": "message", "role": "assistant", "id": item_id, "content": [] },
                }));
                let mut text = String::new();
                for delta in deltas {
                    if let Some(pause) = pause {
                        tokio::time::sleep(pause).await;
                    }
                    output_tokens += 1;
                    text.push_str(&delta);
                    yield Event {
                        kind: "response.output_text.delta".to_owned(),
                        json: format!(
                            r#"{{"type":"response.output_text.delta","item_id":"{item_id}","output_index":0,"content_index":0,"delta":{}}}"#,
                            Value::from(delta)
                        ),
                    };
                }
                yield done(&json!({
                    "type": "message",
                    "role": "assistant",
                    "id": item_id,
                    "content": [{ "type": "output_text", "text": text }],
                }));
            }
        }
        let input_tokens = request_bytes / 4;
        yield Event::of(&json!({
            "type": "response.completed",
            "response": {
                "id": response_id,
                "usage": {
                    "input_tokens": input_tokens,
                    "input_tokens_details": { "cached_tokens": 0 },
                    "output_tokens": output_tokens,
                    "output_tokens_details": { "reasoning_tokens": 0 },
                    "total_tokens": input_tokens + output_tokens,
                },
            },
        }));
    }
}

fn done(item: &Value) -> Event {
    Event::of(&json!({ "type": "response.output_item.done", "output_index": 0, "item": item }))
}

fn call_id() -> String {
    format!("call_{}", uuid::Uuid::now_v7().simple())
}

/// No script is longer than this: a prompt must not be able to fill the memory.
const MAX_DELTAS: usize = 1_000_000;

/// The pieces of a text, and the pause between them.
fn deltas(reply: Reply) -> (Box<dyn Iterator<Item = String> + Send>, Option<Duration>) {
    let numbered = |count: usize| Box::new((0..count.min(MAX_DELTAS)).map(|n| format!("{n} ")));
    match reply {
        Reply::Text(text) => {
            let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
            (Box::new(words.into_iter()), None)
        }
        Reply::Deltas(count) => (numbered(count), None),
        Reply::Slow { words, pause_ms } => (numbered(words), Some(Duration::from_millis(pause_ms))),
        Reply::Call { .. } | Reply::CallIn { .. } | Reply::Patch(_) => {
            (Box::new(std::iter::empty()), None)
        }
    }
}
