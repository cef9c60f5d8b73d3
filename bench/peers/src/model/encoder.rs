//! Encodes a response of the scripted model: the events of a Responses stream, or the chunks of a
//! chat completion.

use serde_json::Value;
use serde_json::json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Responses,
    Chat,
}

/// An event. The chunks of a chat completion have no name.
#[derive(Debug, Clone)]
pub(super) struct Event {
    kind: &'static str,
    pub(super) json: String,
}

impl Wire {
    /// Frames a server-sent event.
    pub(super) fn framed(self, event: &Event) -> String {
        match self {
            Self::Responses => format!("event: {}\ndata: {}\n\n", event.kind, event.json),
            Self::Chat => format!("data: {}\n\n", event.json),
        }
    }
}

/// Encodes the events of one response.
#[derive(Debug)]
pub(super) struct Encoder {
    wire: Wire,
    response_id: String,
    item_id: String,
}

impl Encoder {
    pub(super) fn new(wire: Wire) -> Self {
        let id = |prefix: &str| format!("{prefix}_{}", uuid::Uuid::now_v7().simple());
        Self { wire, response_id: id("resp"), item_id: id("msg") }
    }

    pub(super) fn created(&self) -> Vec<Event> {
        match self.wire {
            Wire::Responses => {
                vec![event("response.created", json!({ "response": { "id": self.response_id } }))]
            }
            Wire::Chat => Vec::new(),
        }
    }

    pub(super) fn item_added(&self) -> Vec<Event> {
        let item =
            json!({ "type": "message", "role": "assistant", "id": self.item_id, "content": [] });
        match self.wire {
            Wire::Responses => vec![event(
                "response.output_item.added",
                json!({ "output_index": 0, "item": item }),
            )],
            Wire::Chat => vec![self.chunk(&json!({ "role": "assistant", "content": "" }), None)],
        }
    }

    /// Formatted by hand because there are thousands. The text needs no escaping.
    pub(super) fn text_delta(&self, text: &str) -> Event {
        let (kind, json) = match self.wire {
            Wire::Responses => (
                "response.output_text.delta",
                format!(
                    "{{\"type\":\"response.output_text.delta\",\"item_id\":\"{}\",\
                     \"output_index\":0,\"content_index\":0,\"delta\":\"{text}\"}}",
                    self.item_id
                ),
            ),
            Wire::Chat => (
                "",
                format!(
                    "{{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":1,\
                     \"model\":\"scripted\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\
                     \"{text}\"}},\"finish_reason\":null}}]}}",
                    self.response_id
                ),
            ),
        };
        Event { kind, json }
    }

    pub(super) fn item_done(&self, text: &str) -> Vec<Event> {
        match self.wire {
            Wire::Responses => vec![event(
                "response.output_item.done",
                json!({ "output_index": 0, "item": {
                    "type": "message",
                    "role": "assistant",
                    "id": self.item_id,
                    "content": [{ "type": "output_text", "text": text }],
                } }),
            )],
            Wire::Chat => vec![self.chunk(&json!({}), Some("stop"))],
        }
    }

    pub(super) fn tool_call(&self, tool: &str, command: &str) -> Vec<Event> {
        let arguments = match tool {
            // The longest that core waits before a command moves to the background.
            "exec_command" => json!({ "cmd": command, "yield_time_ms": 30_000, "login": false }),
            "shell_command" => json!({ "command": command, "timeout_ms": 60_000, "login": false }),
            _ => json!({ "command": command, "description": "Runs a command" }),
        };
        let (arguments, call_id) = (arguments.to_string(), format!("call_{}", self.item_id));
        match self.wire {
            Wire::Responses => vec![event(
                "response.output_item.done",
                json!({ "output_index": 0, "item": {
                    "type": "function_call",
                    "id": self.item_id,
                    "call_id": call_id,
                    "name": tool,
                    "arguments": arguments,
                } }),
            )],
            Wire::Chat => {
                let call = json!({
                    "index": 0,
                    "id": call_id,
                    "type": "function",
                    "function": { "name": tool, "arguments": arguments },
                });
                vec![
                    self.chunk(&json!({ "role": "assistant", "tool_calls": [call] }), None),
                    self.chunk(&json!({}), Some("tool_calls")),
                ]
            }
        }
    }

    pub(super) fn completed(&self) -> Vec<Event> {
        match self.wire {
            Wire::Responses => {
                let usage = json!({
                    "input_tokens": 8,
                    "input_tokens_details": { "cached_tokens": 0 },
                    "output_tokens": 8,
                    "output_tokens_details": { "reasoning_tokens": 0 },
                    "total_tokens": 16,
                });
                let response = json!({ "id": self.response_id, "usage": usage });
                vec![event("response.completed", json!({ "response": response }))]
            }
            Wire::Chat => {
                let usage =
                    json!({ "prompt_tokens": 8, "completion_tokens": 8, "total_tokens": 16 });
                let last = json!({
                    "id": self.response_id,
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": "scripted",
                    "choices": [],
                    "usage": usage,
                });
                vec![
                    Event { kind: "", json: last.to_string() },
                    Event { kind: "", json: "[DONE]".to_owned() },
                ]
            }
        }
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Event {
        let json = json!({
            "id": self.response_id,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "scripted",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
        });
        Event { kind: "", json: json.to_string() }
    }
}

fn event(kind: &'static str, mut members: Value) -> Event {
    if let Some(members) = members.as_object_mut() {
        members.insert("type".to_owned(), kind.into());
    }
    Event { kind, json: members.to_string() }
}
