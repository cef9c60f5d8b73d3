//! Anthropic's stream of events, read into core's. One item per content block: text is a message, thinking is a reasoning
//! item that carries the block itself, `tool_use` is a call.

use super::super::unfinished;
use super::tools::Tools;
use super::{Decoder, Failure, WIRE, broken, refused};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// No model writes this much; a stream that goes on and on must not fill the memory.
const LARGEST_ANSWER: usize = 64 << 20;

/// One answer, as far as it has come.
#[derive(Default)]
pub(super) struct Answer {
    model: String,
    tools: Tools,
    /// The message's identifier, known from its start on.
    id: Option<String>,
    items: u64,
    open: BTreeMap<u64, Open>,
    /// Calls with arguments that are no JSON, until it is clear whether the model wrote them so or was cut off.
    garbled: Vec<Value>,
    usage: BTreeMap<&'static str, i64>,
    stop: Value,
    refusal: Value,
    size: usize,
    over: Over,
}

#[derive(Default, PartialEq)]
enum Over {
    #[default]
    No,
    Ended,
    Failed,
}

/// A content block between its start and its stop.
struct Open {
    place: u64,
    id: String,
    content: Content,
}

enum Content {
    /// Announced with its first text: the API sends empty blocks, too.
    Text {
        said: String,
    },
    Thinking {
        thought: String,
        signature: Option<String>,
    },
    Redacted {
        block: Value,
    },
    Call {
        id: String,
        name: String,
        given: Value,
        json: String,
    },
    /// A block of a server tool, which this wire never offers, or of a later version of the API.
    Unknown,
}

impl Decoder for Answer {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Value>, Failure> {
        if self.over != Over::No {
            return Ok(Vec::new());
        }
        let read = self.read(name, data);
        if read.is_err() {
            self.over = Over::Failed;
        }
        read
    }

    fn end(&mut self) -> Result<Vec<Value>, Failure> {
        if self.over == Over::Ended {
            return Ok(Vec::new());
        }
        self.over = Over::Failed;
        let message = "Anthropic's stream was cut: it ended before message_stop.".to_owned();
        Err(Failure { code: "stream_cut", message, retryable: true })
    }
}

impl Answer {
    pub(super) fn to(ask: &Value) -> Self {
        let model = ask["model"].as_str().unwrap_or_default().to_owned();
        Self { model, tools: Tools::offered(ask), ..Self::default() }
    }

    fn read(&mut self, name: &str, data: &str) -> Result<Vec<Value>, Failure> {
        self.size = self.size.saturating_add(data.len());
        if self.size > LARGEST_ANSWER {
            return Err(broken("it is larger than any answer"));
        }
        let event: Value = serde_json::from_str(data)
            .map_err(|error| broken(&format!("an event is no JSON ({error})")))?;
        match event["type"].as_str().unwrap_or(name) {
            "error" => Err(refused(0, &event)),
            "message_start" => self.start(&event["message"]),
            kind @ ("content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop") => {
                let Some(id) = self.id.clone() else {
                    return Err(broken(&format!("{kind} came before message_start")));
                };
                match kind {
                    "content_block_start" => {
                        self.open(&id, index(&event)?, &event["content_block"])
                    }
                    "content_block_delta" => self.grow(index(&event)?, &event["delta"]),
                    "content_block_stop" => self.close(index(&event)?),
                    "message_delta" => {
                        self.count(&event["usage"]);
                        if event["delta"]["stop_reason"].is_string() {
                            self.stop = event["delta"]["stop_reason"].clone();
                            self.refusal = event["delta"]["stop_details"].clone();
                        }
                        Ok(Vec::new())
                    }
                    _ => self.finish(&id),
                }
            }
            // Pings, and what later versions add: the API asks its clients to pass over those.
            _ => Ok(Vec::new()),
        }
    }

    fn start(&mut self, message: &Value) -> Result<Vec<Value>, Failure> {
        let Some(id) = message["id"].as_str() else {
            return Err(broken("message_start has no message id"));
        };
        if self.id.replace(id.to_owned()).is_some() {
            return Err(broken("message_start came twice"));
        }
        self.count(&message["usage"]);
        Ok(vec![json!({"type": "response.created", "response": {"id": id}})])
    }

    /// Counts are cumulative; the last word on each is right.
    fn count(&mut self, usage: &Value) {
        for key in [
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "output_tokens",
        ] {
            if let Some(tokens) = usage[key].as_i64() {
                self.usage.insert(key, tokens.max(0));
            }
        }
        if let Some(tokens) = usage["output_tokens_details"]["thinking_tokens"].as_i64() {
            self.usage.insert("thinking_tokens", tokens.max(0));
        }
    }

    fn open(&mut self, message: &str, index: u64, block: &Value) -> Result<Vec<Value>, Failure> {
        let word = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
        let (prefix, content) = match block["type"].as_str().unwrap_or_default() {
            "text" => ("", Content::Text { said: String::new() }),
            "thinking" => (
                "rs_",
                Content::Thinking {
                    thought: String::new(),
                    signature: block["signature"].as_str().map(str::to_owned),
                },
            ),
            "redacted_thinking" => ("rs_", Content::Redacted { block: block.clone() }),
            "tool_use" if word("id").is_empty() || word("name").is_empty() => {
                return Err(broken("a tool_use has no id or no name"));
            }
            "tool_use" => (
                "fc_",
                Content::Call {
                    id: word("id"),
                    name: word("name"),
                    given: block["input"].clone(),
                    json: String::new(),
                },
            ),
            _ => ("", Content::Unknown),
        };
        let (place, id) = self.item(message, prefix);
        let reasoning = matches!(content, Content::Thinking { .. } | Content::Redacted { .. });
        if self.open.insert(index, Open { place, id: id.clone(), content }).is_some() {
            return Err(broken(&format!("block {index} started twice")));
        }
        let mut events = Vec::new();
        if reasoning {
            events.push(added(place, json!({"type": "reasoning", "id": id, "summary": []})));
        }
        // The API starts its blocks empty; servers that imitate it do not always.
        for (key, kind) in [("text", "text_delta"), ("thinking", "thinking_delta")] {
            if block["type"] == key && !word(key).is_empty() {
                events.extend(self.grow(index, &json!({"type": kind, key: block[key]}))?);
            }
        }
        Ok(events)
    }

    fn item(&mut self, message: &str, prefix: &str) -> (u64, String) {
        let place = self.items;
        self.items += 1;
        (place, format!("{prefix}{message}_{place}"))
    }

    fn grow(&mut self, index: u64, delta: &Value) -> Result<Vec<Value>, Failure> {
        let Some(open) = self.open.get_mut(&index) else {
            return Err(broken(&format!("a delta is for block {index}, which is not open")));
        };
        let word = |key: &str| delta[key].as_str().unwrap_or_default();
        let (place, id) = (open.place, open.id.clone());
        let mut events = Vec::new();
        match (&mut open.content, delta["type"].as_str().unwrap_or_default()) {
            (Content::Text { said }, "text_delta") => {
                let more = word("text");
                if said.is_empty() && !more.is_empty() {
                    events.push(added(place, message(&id, json!([]))));
                }
                said.push_str(more);
                if !more.is_empty() {
                    events.push(json!({"type": "response.output_text.delta", "item_id": id, "output_index": place, "content_index": 0, "delta": more}));
                }
            }
            (Content::Thinking { thought, .. }, "thinking_delta") => {
                let more = word("thinking");
                let part = |kind: &str| json!({"type": kind, "item_id": id, "output_index": place, "summary_index": 0});
                if thought.is_empty() && !more.is_empty() {
                    events.push(part("response.reasoning_summary_part.added"));
                }
                thought.push_str(more);
                if !more.is_empty() {
                    let mut event = part("response.reasoning_summary_text.delta");
                    event["delta"] = json!(more);
                    events.push(event);
                }
            }
            (Content::Thinking { signature, .. }, "signature_delta") => {
                signature.get_or_insert_default().push_str(word("signature"))
            }
            (Content::Call { json, .. }, "input_json_delta") => json.push_str(word("partial_json")),
            (Content::Unknown, _) => {}
            (
                _,
                kind @ ("text_delta" | "thinking_delta" | "signature_delta" | "input_json_delta"),
            ) => {
                return Err(broken(&format!(
                    "block {index} got a {kind}, which is not of its kind"
                )));
            }
            // Citations, and what later versions add.
            _ => {}
        }
        Ok(events)
    }

    fn close(&mut self, index: u64) -> Result<Vec<Value>, Failure> {
        let Some(open) = self.open.remove(&index) else {
            return Err(broken(&format!("block {index} stopped without a start")));
        };
        let Open { place, id, content } = open;
        let item = match content {
            Content::Text { said } if said.is_empty() => return Ok(Vec::new()),
            Content::Text { said } => message(&id, json!([{"type": "output_text", "text": said}])),
            Content::Thinking { thought, signature } => {
                let mut block = json!({"type": "thinking", "thinking": thought});
                if let Some(signature) = signature {
                    block["signature"] = json!(signature);
                }
                self.reasoning(&id, &thought, &block)
            }
            Content::Redacted { block } => self.reasoning(&id, "", &block),
            Content::Call { id: call, name, given, json } => {
                let json = if json.trim().is_empty() && given.is_object() {
                    given.to_string()
                } else {
                    json
                };
                let whole = serde_json::from_str::<Value>(&json).is_ok();
                let done = done(place, self.call(&id, &call, &name, json));
                if !whole {
                    self.garbled.push(done);
                    return Ok(Vec::new());
                }
                return Ok(vec![done]);
            }
            Content::Unknown => return Ok(Vec::new()),
        };
        Ok(vec![done(place, item)])
    }

    /// The block goes through core and back as it came, together with the model that alone can read it.
    fn reasoning(&self, id: &str, thought: &str, block: &Value) -> Value {
        let carried = json!({"wire": WIRE, "model": self.model, "blocks": [block]}).to_string();
        let summary = if thought.is_empty() {
            json!([])
        } else {
            json!([{"type": "summary_text", "text": thought}])
        };
        json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": carried})
    }

    fn call(&self, id: &str, call: &str, wire: &str, json: String) -> Value {
        let (name, namespace, custom) = self.tools.named(wire);
        let mut item = if custom {
            let input = match serde_json::from_str::<Value>(&json) {
                Ok(given) => given["input"].as_str().map(str::to_owned),
                Err(_) => None,
            };
            json!({"type": "custom_tool_call", "id": id, "call_id": call, "name": name, "input": input.unwrap_or(json)})
        } else {
            json!({"type": "function_call", "id": id, "call_id": call, "name": name, "arguments": json})
        };
        if let Some(namespace) = namespace {
            item["namespace"] = json!(namespace);
        }
        item
    }

    fn finish(&mut self, id: &str) -> Result<Vec<Value>, Failure> {
        if let Some(index) = self.open.keys().next() {
            return Err(broken(&format!("message_stop came while block {index} was open")));
        }
        let mut response = json!({"id": id, "usage": self.spent()});
        let mut events = match self.stop.as_str().unwrap_or_default() {
            "max_tokens" => {
                self.over = Over::Ended;
                return Ok(vec![unfinished(id, "Anthropic", "max_output_tokens")]);
            }
            "model_context_window_exceeded" => {
                let message =
                    "Anthropic's answer filled the model's context window before it was whole."
                        .to_owned();
                return Err(Failure { code: "context_length_exceeded", message, retryable: false });
            }
            "refusal" => self.declined(id),
            "pause_turn" => {
                // Core asks again where the turn has not ended.
                response["end_turn"] = json!(false);
                std::mem::take(&mut self.garbled)
            }
            _ => std::mem::take(&mut self.garbled),
        };
        events.push(json!({"type": "response.completed", "response": response}));
        self.over = Over::Ended;
        Ok(events)
    }

    fn declined(&mut self, response: &str) -> Vec<Value> {
        let category = self.refusal["category"]
            .as_str()
            .map(|category| format!(" (category: {category})"))
            .unwrap_or_default();
        let why =
            self.refusal["explanation"].as_str().map(|why| format!(" {why}")).unwrap_or_default();
        let said = format!("The model declined to answer{category}.{why}");
        let (place, id) = self.item(response, "");
        vec![
            added(place, message(&id, json!([]))),
            json!({"type": "response.output_text.delta", "item_id": id, "output_index": place, "content_index": 0, "delta": said}),
            done(place, message(&id, json!([{"type": "output_text", "text": said}]))),
        ]
    }

    /// The API counts what the cache read and wrote apart from the input; core counts it in.
    fn spent(&self) -> Value {
        let of = |key: &str| self.usage.get(key).copied().unwrap_or_default();
        let (cached, written) = (of("cache_read_input_tokens"), of("cache_creation_input_tokens"));
        let input = of("input_tokens").saturating_add(cached).saturating_add(written);
        json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "output_tokens": of("output_tokens"),
            "output_tokens_details": {"reasoning_tokens": of("thinking_tokens")},
            "total_tokens": input.saturating_add(of("output_tokens")),
        })
    }
}

fn index(event: &Value) -> Result<u64, Failure> {
    event["index"].as_u64().ok_or_else(|| broken("an event of a content block has no index"))
}

fn message(id: &str, content: Value) -> Value {
    json!({"type": "message", "role": "assistant", "id": id, "content": content})
}

fn added(place: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": place, "item": item})
}

fn done(place: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": place, "item": item})
}
