//! OpenAI's Responses API: `POST /v1/responses`, streaming.

use serde_json::Value;
use serde_json::json;

use super::Part;
use super::Stop;
use super::halves;
use super::serial;
use crate::support::provider::Answer;
use crate::support::provider::sse;
use crate::support::provider::status;

/// The numbered events of an answer.
struct Stream {
    serial: u64,
    events: Vec<Value>,
    output: Vec<Value>,
}

impl Stream {
    fn event(&mut self, kind: &str, mut fields: Value) {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.events.len());
        self.events.push(fields);
    }

    /// Starts an item. Returns its id and index.
    fn begin(&mut self, prefix: &str, mut item: Value) -> (String, usize) {
        let at = self.output.len();
        let id = format!("{prefix}_{:08x}{at:04x}", self.serial);
        item["id"] = json!(id);
        item["status"] = json!("in_progress");
        self.event("response.output_item.added", json!({ "output_index": at, "item": item }));
        (id, at)
    }

    fn done(&mut self, id: &str, at: usize, mut item: Value) {
        item["id"] = json!(id);
        item["status"] = json!("completed");
        self.event("response.output_item.done", json!({ "output_index": at, "item": item }));
        self.output.push(item);
    }

    /// Adds text or a refusal: a message of one content part.
    fn message(&mut self, kind: &str, member: &str, deltas: &[String]) {
        let item =
            |content: Value| json!({ "type": "message", "role": "assistant", "content": content });
        let part = |text: &str| match kind {
            "refusal" => json!({ "type": "refusal", "refusal": text }),
            _ => {
                json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": text })
            }
        };
        let (id, at) = self.begin("msg", item(json!([])));
        let place = |fields: Value| {
            let mut all = json!({ "item_id": id, "output_index": at, "content_index": 0 });
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            all
        };
        self.event("response.content_part.added", place(json!({ "part": part("") })));
        for delta in deltas {
            self.event(
                &format!("response.{kind}.delta"),
                place(json!({ "delta": delta, "logprobs": [], "obfuscation": "tVuFA" })),
            );
        }
        let whole = deltas.concat();
        self.event(
            &format!("response.{kind}.done"),
            place(json!({ member: whole, "logprobs": [] })),
        );
        self.event("response.content_part.done", place(json!({ "part": part(&whole) })));
        self.done(&id, at, item(json!([part(&whole)])));
    }

    fn thought(&mut self, text: &str, seal: &str) {
        let item = |summary: Value, sealed: &str| json!({ "type": "reasoning", "summary": summary, "encrypted_content": sealed });
        let part = |text: &str| json!({ "type": "summary_text", "text": text });
        // The signature of the added item differs from that of the finished one.
        let (id, at) = self.begin("rs", item(json!([]), "Zmlyc3Q="));
        let place = |member: &str, value: Value| json!({ "item_id": id, "output_index": at, "summary_index": 0, member: value });
        self.event("response.reasoning_summary_part.added", place("part", part("")));
        for half in halves(text) {
            self.event("response.reasoning_summary_text.delta", place("delta", json!(half)));
        }
        self.event("response.reasoning_summary_text.done", place("text", json!(text)));
        self.event("response.reasoning_summary_part.done", place("part", part(text)));
        self.done(&id, at, item(json!([part(text)]), seal));
    }

    /// Adds a call; `member` holds its input as text.
    fn call(&mut self, prefix: &str, item: Value, member: &str, event: &str, given: &str) {
        let mut begun = item.clone();
        begun[member] = json!("");
        let (id, at) = self.begin(prefix, begun);
        for half in halves(given) {
            let fields = json!({ "item_id": id, "output_index": at, "delta": half });
            self.event(&format!("response.{event}.delta"), fields);
        }
        let fields = json!({ "item_id": id, "output_index": at, member: given });
        self.event(&format!("response.{event}.done"), fields);
        let mut item = item;
        item[member] = json!(given);
        self.done(&id, at, item);
    }
}

pub(super) fn say(model: &str, parts: &[Part], stop: Stop) -> Answer {
    let mut stream = Stream { serial: serial(), events: Vec::new(), output: Vec::new() };
    let response =
        |stream: &Stream, status: &str| json!({ "response": response(model, stream, status) });
    stream.event("response.created", response(&stream, "in_progress"));
    stream.event("response.in_progress", response(&stream, "in_progress"));
    for part in parts {
        match part {
            Part::Thought { text, seal } => stream.thought(text, seal),
            Part::Text(deltas) => stream.message("output_text", "text", deltas),
            Part::Refusal(why) => {
                stream.message("refusal", "refusal", &halves(why).map(Into::into))
            }
            Part::Call { id, name, arguments } => stream.call(
                "fc",
                json!({ "type": "function_call", "call_id": id, "name": name }),
                "arguments",
                "function_call_arguments",
                &arguments.to_string(),
            ),
            Part::Freeform { id, name, input } => stream.call(
                "ctc",
                json!({ "type": "custom_tool_call", "call_id": id, "name": name }),
                "input",
                "custom_tool_call_input",
                input,
            ),
        }
    }
    let status = if stop == Stop::Length { "incomplete" } else { "completed" };
    stream.event(&format!("response.{status}"), response(&stream, status));
    sse(&stream.events)
}

fn response(model: &str, stream: &Stream, status: &str) -> Value {
    let ended = status != "in_progress";
    let incomplete = (status == "incomplete").then(|| json!({ "reason": "max_output_tokens" }));
    let usage = ended.then(|| {
        json!({ "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 0 },
            "output_tokens": 2, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 12 })
    });
    json!({
        "id": format!("resp_{:08x}", stream.serial), "object": "response", "created_at": 1_760_000_000,
        "status": status, "background": false, "error": null, "incomplete_details": incomplete,
        "instructions": null, "max_output_tokens": null, "max_tool_calls": null, "metadata": {},
        "model": model, "output": if ended { stream.output.clone() } else { Vec::new() },
        "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null,
        "reasoning": { "effort": null, "summary": null }, "safety_identifier": null,
        "service_tier": "auto", "store": false, "temperature": 1.0,
        "text": { "format": { "type": "text" }, "verbosity": "medium" }, "tool_choice": "auto", "tools": [],
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": null,
    })
}

const TOO_LONG: &str =
    "Your input exceeds the context window of this model. Please adjust your input and try again.";

pub(super) fn too_long() -> Answer {
    let error = json!({ "message": TOO_LONG, "type": "invalid_request_error", "param": "input",
                        "code": "context_length_exceeded" });
    status(400, &json!({ "error": error }))
}

/// Returns the same error as the API reports it after the stream has started.
pub fn too_long_in_stream() -> Answer {
    let mut stream = Stream { serial: serial(), events: Vec::new(), output: Vec::new() };
    let begun = json!({ "response": response("scripted", &stream, "in_progress") });
    stream.event("response.created", begun);
    let mut failed = response("scripted", &stream, "failed");
    failed["error"] = json!({ "code": "context_length_exceeded", "message": TOO_LONG });
    failed["usage"] = Value::Null;
    stream.event("response.failed", json!({ "response": failed }));
    sse(&stream.events)
}

pub(super) fn fails_midway() -> Value {
    json!({ "type": "error", "code": "server_error", "param": null, "sequence_number": 5,
        "message": "The server had an error processing your request. Sorry about that!" })
}
