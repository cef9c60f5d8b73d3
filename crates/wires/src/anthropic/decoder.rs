//! The answer: Anthropic's stream of events, decoded into core's. Each content block is one item:
//! text becomes a message, thinking a reasoning item that carries the block itself, `tool_use` a
//! call.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;

use serde_json::Value;
use serde_json::json;

use super::api::API;
use super::api::MARK;
use super::tools::Tools;
use crate::Decoder;
use crate::arguments::repaired;
use crate::error::Code;
use crate::error::WireError;
use crate::event::Event;
use crate::failure;
use crate::failure::Place;
use crate::item;
use crate::json::list;
use crate::names;
use crate::reader::DOCUMENT;
use crate::size::AnswerSize;
use crate::usage::Usage;

/// Decodes one answer.
#[derive(Default)]
pub(super) struct AnthropicDecoder {
    model: String,
    provider: String,
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

    fn done(&mut self) -> Result<Vec<Event>, WireError> {
        // Without a stop_reason, every block must have come to its own end.
        let is_whole = self.stop_reason.is_string() || (self.items > 0 && self.open.is_empty());
        if is_whole { self.finish_now() } else { self.end() }
    }

    fn is_ending(&self) -> bool {
        self.state == State::Reading && self.stop_reason.is_string()
    }

    fn end(&mut self) -> Result<Vec<Event>, WireError> {
        if self.stop_reason.is_string() || self.state == State::Done {
            return self.finish_now();
        }
        self.state = State::Failed;
        let message = format!("{API}: the stream ended before message_stop");
        Err(WireError::new(Code::Truncated, message))
    }
}

impl AnthropicDecoder {
    pub(super) fn new(request: &Value, provider: &str) -> Self {
        let model = request["model"].as_str().unwrap_or_default().to_owned();
        let provider = provider.to_owned();
        Self { model, provider, tools: Tools::of(request), ..Self::default() }
    }

    /// Ends the answer, unless it has ended.
    fn finish_now(&mut self) -> Result<Vec<Event>, WireError> {
        if self.state != State::Reading {
            return Ok(Vec::new());
        }
        let finished = self.finish();
        if finished.is_err() {
            self.state = State::Failed;
        }
        finished
    }

    fn read(&mut self, name: &str, data: &str) -> Result<Vec<Event>, WireError> {
        self.size.add(API, data.len())?;
        let event: Value = serde_json::from_str(data)
            .map_err(|error| invalid(format_args!("an event is no JSON ({error})")))?;
        let place =
            if name == DOCUMENT && self.id.is_none() { Place::Document } else { Place::Stream };
        match event["type"].as_str().unwrap_or(name) {
            "message_start" => self.start(&event["message"]),
            "content_block_start" => {
                let mut events = self.begin();
                events.extend(self.open(index(&event), &event["content_block"])?);
                Ok(events)
            }
            "content_block_delta" => {
                let mut events = self.begin();
                events.extend(self.append(index(&event), &event["delta"])?);
                Ok(events)
            }
            "content_block_stop" => Ok(self.close(index(&event))),
            "message_delta" => {
                self.count(&event["usage"]);
                self.stop(&event["delta"]);
                Ok(self.begin())
            }
            "message_stop" => {
                let mut events = self.begin();
                events.extend(self.finish()?);
                Ok(events)
            }
            "message" | DOCUMENT if event["content"].is_array() => self.whole(&event),
            // Servers that do not speak this API name their errors in other ways.
            "error" => Err(failure::of_value(API, place, &event)),
            _ if !event["error"].is_null() || place == Place::Document => {
                Err(failure::of_value(API, place, &event))
            }
            // Pings, and events of later versions, which the API asks its clients to ignore.
            _ => Ok(Vec::new()),
        }
    }

    fn start(&mut self, message: &Value) -> Result<Vec<Event>, WireError> {
        if self.items > 0 {
            return Err(invalid("message_start came amid a message"));
        }
        self.count(&message["usage"]);
        Ok(self.begin_as(message["id"].as_str().unwrap_or_default()))
    }

    /// Begins the message if its start is missing.
    fn begin(&mut self) -> Vec<Event> {
        self.begin_as("")
    }

    fn begin_as(&mut self, id: &str) -> Vec<Event> {
        if self.id.is_some() {
            return Vec::new();
        }
        let id = match id {
            // Random, as it must be unique in the conversation.
            "" => format!("msg_{:016x}", RandomState::new().build_hasher().finish()),
            id => id.to_owned(),
        };
        let created = Event::created(&id);
        self.id = Some(id);
        vec![created]
    }

    /// Reads an answer that came as one message, not in pieces.
    fn whole(&mut self, message: &Value) -> Result<Vec<Event>, WireError> {
        let mut events = self.start(message)?;
        for (block, content) in list(&message["content"]).iter().enumerate() {
            let block = u64::try_from(block).unwrap_or(u64::MAX);
            events.extend(self.open(block, content)?);
            events.extend(self.close(block));
        }
        self.stop(message);
        events.extend(self.finish()?);
        Ok(events)
    }

    /// Notes why the message ends.
    fn stop(&mut self, delta: &Value) {
        if delta["stop_reason"].is_string() {
            self.stop_reason = delta["stop_reason"].clone();
            self.stop_details = delta["stop_details"].clone();
        }
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

    /// Opens a block. Imitations of the API do not close the block before it, or use its index
    /// again. Calls stay open, as their arguments may arrive in turns.
    fn open(&mut self, block: u64, start: &Value) -> Result<Vec<Event>, WireError> {
        let is_over = |(at, open): (&u64, &Open)| {
            let is_call = matches!(open.content, Content::Call { .. });
            (*at == block || !is_call).then_some(*at)
        };
        let over: Vec<u64> = self.open.iter().filter_map(is_over).collect();
        let mut events: Vec<Event> = over.into_iter().flat_map(|block| self.close(block)).collect();
        let member = |key: &str| start[key].as_str().unwrap_or_default().to_owned();
        let (prefix, content) = match start["type"].as_str().unwrap_or_default() {
            "text" => ("", Content::Text { text: String::new() }),
            "thinking" => {
                let signature = start["signature"].as_str().map(str::to_owned);
                ("rs_", Content::Thinking { text: String::new(), signature })
            }
            "redacted_thinking" => ("rs_", Content::Redacted { block: start.clone() }),
            "tool_use" if member("name").is_empty() => {
                return Err(invalid("a tool_use has no name"));
            }
            "tool_use" => {
                let (id, name, input) = (member("id"), member("name"), start["input"].clone());
                ("fc_", Content::Call { id, name, input, json: String::new() })
            }
            _ => ("", Content::Unknown),
        };
        let (index, id) = self.next_item(prefix);
        let reasoning = matches!(content, Content::Thinking { .. } | Content::Redacted { .. });
        self.open.insert(block, Open { index, id: id.clone(), content });
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
    fn next_item(&mut self, prefix: &str) -> (u64, String) {
        let index = self.items;
        let message = self.id.as_deref().unwrap_or_default();
        self.items += 1;
        (index, format!("{prefix}{message}_{index}"))
    }

    fn append(&mut self, block: u64, delta: &Value) -> Result<Vec<Event>, WireError> {
        let mut events = Vec::new();
        if !self.open.contains_key(&block) {
            // Some servers send text without the start of its block.
            let kind = match delta["type"].as_str().unwrap_or_default() {
                "text_delta" => "text",
                "thinking_delta" => "thinking",
                "input_json_delta" => {
                    let defect = format!("arguments are for block {block}, which is no call");
                    return Err(invalid(defect));
                }
                _ => return Ok(events),
            };
            events.extend(self.open(block, &json!({ "type": kind }))?);
        }
        let Some(open) = self.open.get_mut(&block) else { return Ok(events) };
        let member = |key: &str| delta[key].as_str().unwrap_or_default();
        let Open { index, id, content } = open;
        let index = *index;
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

    /// Closes the blocks whose stop is missing.
    fn close_all(&mut self) -> Vec<Event> {
        let blocks: Vec<u64> = self.open.keys().copied().collect();
        blocks.into_iter().flat_map(|block| self.close(block)).collect()
    }

    /// Closes a block, unless it is closed.
    fn close(&mut self, block: u64) -> Vec<Event> {
        let Some(open) = self.open.remove(&block) else { return Vec::new() };
        let Open { index, id, content } = open;
        let item = match content {
            Content::Text { text } if text.is_empty() => return Vec::new(),
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
                    repaired(&json).into_owned()
                };
                let call_id = if call_id.is_empty() { format!("toolu_{id}") } else { call_id };
                let valid = serde_json::from_str::<Value>(&json).is_ok();
                let done = Event::item_done(index, &self.call(&id, &call_id, &name, json));
                if !valid {
                    self.malformed.push(done);
                    return Vec::new();
                }
                return vec![done];
            }
            Content::Unknown => return Vec::new(),
        };
        vec![Event::item_done(index, &item)]
    }

    /// Builds a reasoning item. It carries the block and the only model that can read it.
    fn reasoning(&self, id: &str, summary: &str, block: &Value) -> Value {
        let provider = &self.provider;
        let carried = json!({
            "wire": MARK,
            "provider": provider,
            "model": self.model,
            "blocks": [block],
        });
        item::reasoning(id, summary, Some(carried.to_string()))
    }

    fn call(&self, id: &str, call_id: &str, wire_name: &str, json: String) -> Value {
        let wire_name = names::recovered(wire_name, |name| self.tools.offers(name));
        let (name, namespace, custom) = self.tools.named(wire_name);
        let call = item::Call { id, call_id, namespace, name };
        let json = self.tools.original_arguments(wire_name, json);
        if !custom {
            return call.function(&json);
        }
        let input = serde_json::from_str::<Value>(&json).ok();
        let input = input.and_then(|input| input["input"].as_str().map(str::to_owned));
        call.custom(&input.unwrap_or(json))
    }

    fn finish(&mut self) -> Result<Vec<Event>, WireError> {
        let mut events = self.close_all();
        let id = &self.id.clone().unwrap_or_default();
        let usage = Some(self.usage());
        let malformed = std::mem::take(&mut self.malformed);
        let last = match self.stop_reason.as_str().unwrap_or_default() {
            // Malformed calls were cut off and must not run.
            "max_tokens" => vec![Event::unfinished(id, API, "max_output_tokens")],
            "model_context_window_exceeded" => {
                let message =
                    format!("{API}: the answer filled the model's context window before its end");
                return Err(WireError::new(Code::ContextLength, message));
            }
            "refusal" => [self.refusal(), vec![Event::completed(id, usage)]].concat(),
            "pause_turn" => [malformed, vec![Event::paused(id, usage)]].concat(),
            _ => [malformed, vec![Event::completed(id, usage)]].concat(),
        };
        events.extend(last);
        self.state = State::Done;
        Ok(events)
    }

    /// The message that stands for a refusal.
    fn refusal(&mut self) -> Vec<Event> {
        let detail = |key: &str| self.stop_details[key].as_str();
        let category = detail("category");
        let category = category.map(|text| format!(" (category: {text})")).unwrap_or_default();
        let explanation = detail("explanation").map(|text| format!(" {text}")).unwrap_or_default();
        let text = format!("The model declined to answer{category}.{explanation}");
        let (index, id) = self.next_item("");
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

/// The index of an event's block. A server that sends none sends one block at a time.
fn index(event: &Value) -> u64 {
    event["index"].as_u64().unwrap_or(0)
}

fn invalid(defect: impl std::fmt::Display) -> WireError {
    WireError::invalid_stream(API, defect)
}
