//! The answer: chunks of `GenerateContentResponse`, decoded into Responses events. The answer is
//! complete when the stream ends: a chunk may follow the one with the `finishReason`.

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;

use serde_json::Value;
use serde_json::json;

use super::api::API;
use super::api::MARK;
use super::api::invalid_request;
use super::model::Model;
use super::tools::Tools;
use super::usage;
use crate::Decoder;
use crate::error::Code;
use crate::error::WireError;
use crate::event::Event;
use crate::failure;
use crate::failure::Place;
use crate::item;
use crate::json::EXCERPT_CHARS;
use crate::json::excerpt;
use crate::json::string;
use crate::names;
use crate::reader::DOCUMENT;
use crate::size::AnswerSize;

/// The item under way.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Message(String),
    Reasoning(String),
}

/// Decodes one answer. Items are strictly sequential: core attaches a delta to the last added item.
#[derive(Debug, Default)]
pub(super) struct GeminiDecoder {
    tools: Tools,
    model: String,
    provider: String,
    id: String,
    started: bool,
    open: Open,
    /// The number of complete items, and so the index of the open one.
    index: u64,
    /// Signed parts for the next reasoning item.
    blocks: Vec<Value>,
    finish: Option<String>,
    finish_message: String,
    usage: Value,
    size: AnswerSize,
    failed: Option<WireError>,
    ended: bool,
}

impl Decoder for GeminiDecoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Event>, WireError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        let read = self.check().and_then(|()| self.read(name, data.trim(), &mut out));
        if let Err(error) = &read {
            self.failed = Some(error.clone());
        }
        read.map(|()| out)
    }

    fn done(&mut self) -> Result<Vec<Event>, WireError> {
        // Without a finishReason, the provider's word that it is done is enough if it has answered.
        let answered = self.index > 0 || matches!(self.open, Open::Message(_));
        if self.finish.is_none() && self.failed.is_none() && answered {
            self.finish = Some("STOP".to_owned());
        }
        self.end()
    }

    fn is_ending(&self) -> bool {
        !self.ended && self.failed.is_none() && self.finish.is_some()
    }

    fn end(&mut self) -> Result<Vec<Event>, WireError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let outcome = self.check().and_then(|()| self.outcome());
        self.failed = outcome.as_ref().err().cloned();
        let incomplete = outcome?;
        self.ended = true;
        let mut out = Vec::new();
        self.close_message(&mut out);
        self.close_reasoning(&mut out);
        out.push(match incomplete {
            None => Event::completed(&self.id, Some(usage::read(&self.usage))),
            Some(reason) => {
                let provider = format!("{API} (finishReason {})", self.finish_text());
                Event::unfinished(&self.id, &provider, reason)
            }
        });
        Ok(out)
    }
}

impl GeminiDecoder {
    pub(super) fn new(request: &Value, provider: &str) -> Self {
        // Used in ids if Gemini sends none. Random, as it must be unique in the conversation.
        let id = format!("gemini-{:016x}", RandomState::new().build_hasher().finish());
        let model = Model::of(request).map(|model| model.name).unwrap_or_default();
        let provider = provider.to_owned();
        Self { tools: Tools::of(request), model, provider, id, ..Self::default() }
    }

    /// Returns the earlier failure, if any: after it nothing is read.
    fn check(&self) -> Result<(), WireError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn read(&mut self, name: &str, data: &str, out: &mut Vec<Event>) -> Result<(), WireError> {
        if data.is_empty() {
            return Ok(());
        }
        self.size.add(API, data.len())?;
        match serde_json::from_str(data) {
            Ok(Value::Array(chunks)) => {
                chunks.iter().try_for_each(|chunk| self.chunk(name, chunk, out))
            }
            Ok(chunk) => self.chunk(name, &chunk, out),
            Err(error) => {
                let shown = excerpt(data, EXCERPT_CHARS);
                Err(invalid_stream(format_args!(
                    "sent an event that is no JSON ({error}): {shown}"
                )))
            }
        }
    }

    fn chunk(&mut self, name: &str, chunk: &Value, out: &mut Vec<Event>) -> Result<(), WireError> {
        let place = if name == DOCUMENT && !self.started { Place::Document } else { Place::Stream };
        if !chunk["error"].is_null() {
            return Err(failure::of_value(API, place, chunk));
        }
        // Gateways wrap each chunk, as Google's Code Assist does.
        let chunk = if chunk["response"].is_object() { &chunk["response"] } else { chunk };
        let known = ["candidates", "usageMetadata", "promptFeedback", "responseId", "modelVersion"];
        if !known.iter().any(|key| chunk.get(key).is_some()) {
            if place == Place::Document || chunk["message"].is_string() {
                return Err(failure::of_value(API, place, chunk));
            }
            return Err(invalid_value("an event that is no GenerateContentResponse", chunk));
        }
        if !self.started {
            self.started = true;
            let id = string(chunk, "responseId");
            if !id.is_empty() {
                id.clone_into(&mut self.id);
            }
            out.push(Event::created(&self.id));
        }
        if chunk["usageMetadata"].is_object() {
            self.usage = chunk["usageMetadata"].clone();
        }
        let feedback = &chunk["promptFeedback"];
        if let Some(reason) = feedback["blockReason"].as_str() {
            let message = excerpt(string(feedback, "blockReasonMessage"), EXCERPT_CHARS);
            let message = format!("{API}: the prompt was blocked ({reason}) {message}");
            return Err(WireError::new(Code::ContentFilter, message));
        }
        let Some(candidate) = chunk.pointer("/candidates/0") else { return Ok(()) };
        match candidate.pointer("/content/parts") {
            None | Some(Value::Null) => {}
            Some(Value::Array(parts)) => parts.iter().try_for_each(|part| self.part(part, out))?,
            Some(other) => return Err(invalid_value("parts that are no list", other)),
        }
        // Imitations write reasons in lower case, and an empty one in every chunk.
        let reason = candidate["finishReason"].as_str().map(str::to_uppercase);
        let reason =
            reason.filter(|reason| !["", "FINISH_REASON_UNSPECIFIED"].contains(&&**reason));
        if let Some(reason) = reason {
            self.finish = Some(excerpt(&reason, EXCERPT_CHARS));
            self.finish_message = excerpt(string(candidate, "finishMessage"), EXCERPT_CHARS);
        }
        Ok(())
    }

    fn part(&mut self, part: &Value, out: &mut Vec<Event>) -> Result<(), WireError> {
        let signature = Some(&part["thoughtSignature"]).filter(|signature| signature.is_string());
        if part["functionCall"].is_object() {
            return self.call(&part["functionCall"], signature, out);
        }
        let known = ["text", "thought", "thoughtSignature", "partMetadata"];
        let unknown =
            part.as_object().and_then(|map| map.keys().find(|key| !known.contains(&key.as_str())));
        if let Some(key) = unknown {
            let shown = excerpt(key, EXCERPT_CHARS);
            let problem = format!("the answer holds a part that was not requested: {shown}");
            return Err(invalid_request(problem));
        }
        let text = match &part["text"] {
            Value::String(text) => text.as_str(),
            Value::Null if part.is_object() => "",
            _ => return Err(invalid_value("a part that is none", part)),
        };
        if part["thought"] == true {
            self.show_thought(text, out);
            self.blocks.extend(signature.map(|_| part.clone()));
            return Ok(());
        }
        let at = self.show_text(text, out);
        self.blocks.extend(signature.map(|signature| match at {
            Some(at) => json!({ "at": at, "text": text, "thoughtSignature": signature }),
            None => json!({ "text": text, "thoughtSignature": signature }),
        }));
        Ok(())
    }

    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.id, self.index)
    }

    /// Emits text as part of a message and returns its byte offset there. `None` if the text is
    /// empty and no message is open.
    fn show_text(&mut self, text: &str, out: &mut Vec<Event>) -> Option<usize> {
        if !matches!(self.open, Open::Message(_)) {
            if text.is_empty() {
                return None;
            }
            self.close_reasoning(out);
            let item = item::empty_message(&self.item_id("msg"));
            out.push(Event::item_added(self.index, &item));
            self.open = Open::Message(String::new());
        }
        let id = self.item_id("msg");
        let Open::Message(whole) = &mut self.open else { return None };
        let at = whole.len();
        whole.push_str(text);
        if !text.is_empty() {
            out.push(Event::text_delta(&id, self.index, text));
        }
        Some(at)
    }

    /// Emits a piece of the thought summary.
    fn show_thought(&mut self, text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        self.close_message(out);
        let id = self.item_id("rs");
        if !matches!(self.open, Open::Reasoning(_)) {
            out.push(Event::item_added(self.index, &item::empty_reasoning(&id)));
            out.push(Event::summary_added(&id, self.index));
            self.open = Open::Reasoning(String::new());
        }
        if let Open::Reasoning(whole) = &mut self.open {
            whole.push_str(text);
        }
        out.push(Event::summary_delta(&id, self.index, text));
    }

    fn close_message(&mut self, out: &mut Vec<Event>) {
        if !matches!(self.open, Open::Message(_)) {
            return;
        }
        if let Open::Message(text) = std::mem::take(&mut self.open) {
            let item = item::message(&self.item_id("msg"), &text);
            self.item_done(&item, out);
        }
    }

    /// Closes an open reasoning item, or makes one for signatures that have none.
    fn close_reasoning(&mut self, out: &mut Vec<Event>) {
        let id = self.item_id("rs");
        let summary = match std::mem::take(&mut self.open) {
            Open::Reasoning(text) => text,
            Open::Nothing if !self.blocks.is_empty() => {
                out.push(Event::item_added(self.index, &item::empty_reasoning(&id)));
                String::new()
            }
            other => {
                self.open = other;
                return;
            }
        };
        let blocks = std::mem::take(&mut self.blocks);
        let carried = (!blocks.is_empty()).then(|| {
            let (model, provider) = (&self.model, &self.provider);
            json!({ "wire": MARK, "provider": provider, "model": model, "blocks": blocks })
                .to_string()
        });
        self.item_done(&item::reasoning(&id, &summary, carried), out);
    }

    fn item_done(&mut self, item: &Value, out: &mut Vec<Event>) {
        out.push(Event::item_done(self.index, item));
        self.index += 1;
    }

    /// Emits a call. Calls arrive whole.
    fn call(
        &mut self,
        call: &Value,
        signature: Option<&Value>,
        out: &mut Vec<Event>,
    ) -> Result<(), WireError> {
        let partial = call.get("partialArgs").is_some() || call["willContinue"] == true;
        let name = string(call, "name");
        if name.is_empty() || partial {
            return Err(invalid_value("a call that is not whole", call));
        }
        let args = match &call["args"] {
            Value::Null => json!({}),
            args @ Value::Object(_) => args.clone(),
            _ => return Err(invalid_value("arguments that are no object", call)),
        };
        self.close_message(out);
        let given = call["id"].as_str().filter(|id| !id.is_empty());
        // Unique: at most one item, a reasoning item, takes this index before the call does.
        let call_id = given.map_or_else(|| self.item_id("call"), str::to_owned);
        self.blocks.extend(
            signature.map(|signature| json!({ "call": call_id, "thoughtSignature": signature })),
        );
        self.close_reasoning(out);
        let name = names::recovered(name, |name| self.tools.named(name).is_some());
        let tool = self.tools.named(name);
        let name = tool.map_or(name, |tool| tool.name.as_str());
        let namespace = tool.and_then(|tool| tool.namespace.as_deref());
        let custom = tool.is_some_and(|tool| tool.custom);
        let id = self.item_id(if custom { "ctc" } else { "fc" });
        let item = item::Call { id: &id, call_id: &call_id, namespace, name };
        let item = if custom {
            // If the model omitted the parameter, everything it wrote is the input.
            let input = args.get("input").unwrap_or(&args);
            item.custom(&input.as_str().map_or_else(|| input.to_string(), str::to_owned))
        } else {
            item.function(&args.to_string())
        };
        self.item_done(&item, out);
        Ok(())
    }

    /// The finish reason with its message.
    fn finish_text(&self) -> String {
        let reason = self.finish.as_deref().unwrap_or_default();
        format!("{reason} {}", self.finish_message).trim_end().to_owned()
    }

    /// Judges the answer at the end of the stream: complete, or incomplete for the returned reason.
    fn outcome(&self) -> Result<Option<&'static str>, WireError> {
        let Some(reason) = self.finish.as_deref() else {
            let missing = if self.started { "a finishReason" } else { "the first event" };
            let message = format!("{API}'s stream ended before {missing}");
            return Err(WireError::new(Code::Truncated, message));
        };
        let text = self.finish_text();
        match reason {
            "STOP" => Ok(None),
            "MAX_TOKENS" | "CONTINUATION" => Ok(Some("max_output_tokens")),
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "ESCALATION"
            | "MODEL_ARMOR"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => Ok(Some("content_filter")),
            // The same request fails the same way.
            "MISSING_THOUGHT_SIGNATURE" | "PUP_LIMITED_DISABLED" => {
                Err(invalid_request(format_args!("stopped: {text}")))
            }
            // MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, TOO_MANY_TOOL_CALLS, OTHER, …: a retry
            // may succeed.
            _ => Err(invalid_stream(format_args!("stopped its own answer: {text}"))),
        }
    }
}

fn invalid_stream(defect: impl std::fmt::Display) -> WireError {
    WireError::invalid_stream(API, defect)
}

/// A value that the API does not define, described by `what`.
fn invalid_value(what: &str, value: &Value) -> WireError {
    let shown = excerpt(&value.to_string(), EXCERPT_CHARS);
    invalid_stream(format_args!("sent {what}: {shown}"))
}
