//! The answer: Anthropic's stream of events, decoded into core's. Each content block is one item:
//! text becomes a message, thinking a reasoning item that carries the block itself, `tool_use` a
//! call.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use super::API;
use super::MARK;
use super::error::provider_error;
use super::tools::Tools;
use crate::Decoder;
use crate::error::Code;
use crate::error::WireError;
use crate::event::Event;
use crate::item;
use crate::size::AnswerSize;
use crate::usage::Usage;

/// Decodes one answer.
#[derive(Default)]
pub(super) struct AnthropicDecoder {
    model: String,
    tools: Tools,
    /// The id of the message, known from its start on.
    id: Option<String>,
    items: u64,
    open: BTreeMap<u64, Open>,
    /// Calls with malformed arguments, until it is clear whether the model was cut off.
    malformed: Vec<Event>,
    usage: BTreeMap<&'static str, i64>,
    stop_reason: Value,
    stop_details: Value,
    size: AnswerSize,
    state: State,
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    Reading,
    Done,
    Failed,
}

/// A content block between its start and its stop.
struct Open {
    index: u64,
    id: String,
    content: Content,
}

enum Content {
    /// Announced with its first text: the API sends empty blocks, too.
    Text {
        text: String,
    },
    Thinking {
        text: String,
        signature: Option<String>,
    },
    Redacted {
        block: Value,
    },
    Call {
        id: String,
        name: String,
        input: Value,
        json: String,
    },
    /// A block of a server tool, which this wire never offers, or of a later version of the API.
    Unknown,
}

impl Decoder for AnthropicDecoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Event>, WireError> {
        if self.state != State::Reading {
            return Ok(Vec::new());
        }
        let read = self.read(name, data);
        if read.is_err() {
            self.state = State::Failed;
        }
        read
    }

    fn end(&mut self) -> Result<Vec<Event>, WireError> {
        if self.state == State::Done {
            return Ok(Vec::new());
        }
        self.state = State::Failed;
        let message = format!("{API}: the stream ended before message_stop");
        Err(WireError::new(Code::Truncated, message))
    }
}

impl AnthropicDecoder {
    pub(super) fn new(request: &Value) -> Self {
        let model = request["model"].as_str().unwrap_or_default().to_owned();
        Self { model, tools: Tools::of(request), ..Self::default() }
    }

    fn read(&mut self, name: &str, data: &str) -> Result<Vec<Event>, WireError> {
        self.size.add(API, data.len())?;
        let event: Value = serde_json::from_str(data)
            .map_err(|error| invalid(format_args!("an event is no JSON ({error})")))?;
        match event["type"].as_str().unwrap_or(name) {
            "error" => Err(provider_error(None, &event)),
            "message_start" => self.start(&event["message"]),
            kind @ ("content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop") => {
                let Some(id) = self.id.clone() else {
                    return Err(invalid(format_args!("{kind} came before message_start")));
                };
                match kind {
                    "content_block_start" => {
                        self.open(&id, index(&event)?, &event["content_block"])
                    }
                    "content_block_delta" => self.append(index(&event)?, &event["delta"]),
                    "content_block_stop" => self.close(index(&event)?),
                    "message_delta" => {
                        self.count(&event["usage"]);
                        if event["delta"]["stop_reason"].is_string() {
                            self.stop_reason = event["delta"]["stop_reason"].clone();
                            self.stop_details = event["delta"]["stop_details"].clone();
                        }
                        Ok(Vec::new())
                    }
                    _ => self.finish(&id),
                }
            }
            // Pings, and events of later versions, which the API asks its clients to ignore.
            _ => Ok(Vec::new()),
        }
    }

    fn start(&mut self, message: &Value) -> Result<Vec<Event>, WireError> {
        let Some(id) = message["id"].as_str() else {
            return Err(invalid("message_start has no message id"));
        };
        if self.id.replace(id.to_owned()).is_some() {
            return Err(invalid("message_start came twice"));
        }
        self.count(&message["usage"]);
        Ok(vec![Event::created(id)])
    }

    /// Notes token counts. They are cumulative, so the last of each is right.
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

    fn open(&mut self, message: &str, block: u64, start: &Value) -> Result<Vec<Event>, WireError> {
        let member = |key: &str| start[key].as_str().unwrap_or_default().to_owned();
        let (prefix, content) = match start["type"].as_str().unwrap_or_default() {
            "text" => ("", Content::Text { text: String::new() }),
            "thinking" => {
                let signature = start["signature"].as_str().map(str::to_owned);
                ("rs_", Content::Thinking { text: String::new(), signature })
            }
            "redacted_thinking" => ("rs_", Content::Redacted { block: start.clone() }),
            "tool_use" if member("id").is_empty() || member("name").is_empty() => {
                return Err(invalid("a tool_use has no id or no name"));
            }
            "tool_use" => {
                let (id, name, input) = (member("id"), member("name"), start["input"].clone());
                ("fc_", Content::Call { id, name, input, json: String::new() })
            }
            _ => ("", Content::Unknown),
        };
        let (index, id) = self.next_item(message, prefix);
        let reasoning = matches!(content, Content::Thinking { .. } | Content::Redacted { .. });
        if self.open.insert(block, Open { index, id: id.clone(), content }).is_some() {
            return Err(invalid(format_args!("block {block} started twice")));
        }
        let mut events = Vec::new();
        if reasoning {
            events.push(Event::item_added(index, &item::empty_reasoning(&id)));
        }
        // The API starts its blocks empty; servers that imitate it do not always.
        for (key, kind) in [("text", "text_delta"), ("thinking", "thinking_delta")] {
            if start["type"] == key && !member(key).is_empty() {
                events.extend(self.append(block, &json!({ "type": kind, key: start[key] }))?);
            }
        }
        Ok(events)
    }

    /// Allots the index and the id of the next item.
    fn next_item(&mut self, message: &str, prefix: &str) -> (u64, String) {
        let index = self.items;
        self.items += 1;
        (index, format!("{prefix}{message}_{index}"))
    }

    fn append(&mut self, block: u64, delta: &Value) -> Result<Vec<Event>, WireError> {
        let Some(open) = self.open.get_mut(&block) else {
            return Err(invalid(format_args!("a delta is for block {block}, which is not open")));
        };
        let member = |key: &str| delta[key].as_str().unwrap_or_default();
        let Open { index, id, content } = open;
        let index = *index;
        let mut events = Vec::new();
        match (content, delta["type"].as_str().unwrap_or_default()) {
            (Content::Text { text }, "text_delta") => {
                let more = member("text");
                if !more.is_empty() {
                    if text.is_empty() {
                        events.push(Event::item_added(index, &item::empty_message(id)));
                    }
                    text.push_str(more);
                    events.push(Event::text_delta(id, index, more));
                }
            }
            (Content::Thinking { text, .. }, "thinking_delta") => {
                let more = member("thinking");
                if !more.is_empty() {
                    if text.is_empty() {
                        events.push(Event::summary_added(id, index));
                    }
                    text.push_str(more);
                    events.push(Event::summary_delta(id, index, more));
                }
            }
            (Content::Thinking { signature, .. }, "signature_delta") => {
                signature.get_or_insert_default().push_str(member("signature"));
            }
            (Content::Call { json, .. }, "input_json_delta") => {
                json.push_str(member("partial_json"));
            }
            (Content::Unknown, _) => {}
            (
                _,
                kind @ ("text_delta" | "thinking_delta" | "signature_delta" | "input_json_delta"),
            ) => {
                let defect = format!("block {block} got a {kind}, which is not of its kind");
                return Err(invalid(defect));
            }
            // Citations, and deltas of later versions.
            _ => {}
        }
        Ok(events)
    }

    fn close(&mut self, block: u64) -> Result<Vec<Event>, WireError> {
        let Some(open) = self.open.remove(&block) else {
            return Err(invalid(format_args!("block {block} stopped without a start")));
        };
        let Open { index, id, content } = open;
        let item = match content {
            Content::Text { text } if text.is_empty() => return Ok(Vec::new()),
            Content::Text { text } => item::message(&id, &text),
            Content::Thinking { text, signature } => {
                let mut block = json!({ "type": "thinking", "thinking": text });
                if let Some(signature) = signature {
                    block["signature"] = json!(signature);
                }
                self.reasoning(&id, &text, &block)
            }
            Content::Redacted { block } => self.reasoning(&id, "", &block),
            Content::Call { id: call_id, name, input, json } => {
                let json = if json.trim().is_empty() && input.is_object() {
                    input.to_string()
                } else {
                    json
                };
                let valid = serde_json::from_str::<Value>(&json).is_ok();
                let done = Event::item_done(index, &self.call(&id, &call_id, &name, json));
                if !valid {
                    self.malformed.push(done);
                    return Ok(Vec::new());
                }
                return Ok(vec![done]);
            }
            Content::Unknown => return Ok(Vec::new()),
        };
        Ok(vec![Event::item_done(index, &item)])
    }

    /// Builds a reasoning item. It carries the block and the only model that can read it.
    fn reasoning(&self, id: &str, summary: &str, block: &Value) -> Value {
        let carried = json!({ "wire": MARK, "model": self.model, "blocks": [block] });
        item::reasoning(id, summary, Some(carried.to_string()))
    }

    fn call(&self, id: &str, call_id: &str, wire_name: &str, json: String) -> Value {
        let (name, namespace, custom) = self.tools.named(wire_name);
        let call = item::Call { id, call_id, namespace, name };
        if !custom {
            return call.function(&json);
        }
        let input = serde_json::from_str::<Value>(&json).ok();
        let input = input.and_then(|input| input["input"].as_str().map(str::to_owned));
        call.custom(&input.unwrap_or(json))
    }

    fn finish(&mut self, id: &str) -> Result<Vec<Event>, WireError> {
        if let Some(block) = self.open.keys().next() {
            return Err(invalid(format_args!("message_stop came while block {block} was open")));
        }
        let usage = Some(self.usage());
        let malformed = std::mem::take(&mut self.malformed);
        let events = match self.stop_reason.as_str().unwrap_or_default() {
            // Malformed calls were cut off and must not run.
            "max_tokens" => vec![Event::unfinished(id, API, "max_output_tokens")],
            "model_context_window_exceeded" => {
                let message =
                    format!("{API}: the answer filled the model's context window before its end");
                return Err(WireError::new(Code::ContextLength, message));
            }
            "refusal" => [self.refusal(id), vec![Event::completed(id, usage)]].concat(),
            "pause_turn" => [malformed, vec![Event::paused(id, usage)]].concat(),
            _ => [malformed, vec![Event::completed(id, usage)]].concat(),
        };
        self.state = State::Done;
        Ok(events)
    }

    /// The message that stands for a refusal.
    fn refusal(&mut self, message: &str) -> Vec<Event> {
        let detail = |key: &str| self.stop_details[key].as_str();
        let category = detail("category");
        let category = category.map(|text| format!(" (category: {text})")).unwrap_or_default();
        let explanation = detail("explanation").map(|text| format!(" {text}")).unwrap_or_default();
        let text = format!("The model declined to answer{category}.{explanation}");
        let (index, id) = self.next_item(message, "");
        vec![
            Event::item_added(index, &item::empty_message(&id)),
            Event::text_delta(&id, index, &text),
            Event::item_done(index, &item::message(&id, &text)),
        ]
    }

    /// Totals the token counts. The API counts cached input apart; core counts it in.
    fn usage(&self) -> Usage {
        let count = |key: &str| self.usage.get(key).copied().unwrap_or_default();
        let cached = count("cache_read_input_tokens");
        let cache_written = count("cache_creation_input_tokens");
        let input = count("input_tokens").saturating_add(cached).saturating_add(cache_written);
        let output = count("output_tokens");
        Usage {
            input: Some(input),
            cached: Some(cached),
            cache_written: Some(cache_written),
            output: Some(output),
            reasoning: Some(count("thinking_tokens")),
            total: Some(input.saturating_add(output)),
        }
    }
}

fn index(event: &Value) -> Result<u64, WireError> {
    event["index"].as_u64().ok_or_else(|| invalid("an event of a content block has no index"))
}

fn invalid(defect: impl std::fmt::Display) -> WireError {
    WireError::invalid_stream(API, defect)
}
