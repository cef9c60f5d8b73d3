//! The answer: `chat.completion.chunk` objects and `[DONE]`, decoded into Responses events.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::api::API;
use super::calls::Calls;
use super::reasoning;
use super::reasoning::DETAILS_FIELD;
use super::reasoning::TEXT_FIELDS;
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
use crate::json::at;
use crate::json::excerpt;
use crate::json::kind;
use crate::json::list;
use crate::reader::DOCUMENT;
use crate::size::AnswerSize;
use crate::usage::Usage;

/// The longest response id of a server that is used.
const MAX_ID_BYTES: usize = 200;

/// Decodes one answer. Core follows one item at a time, so at most one is open; calls wait for the
/// end.
pub(super) struct ChatDecoder {
    tools: Tools,
    provider: String,
    /// Makes ids unique: local servers repeat theirs, and core keys items by them.
    token: String,
    id: Option<String>,
    /// The number of complete items, and so the index of the open one.
    index: u64,
    open: Option<Open>,
    /// Reasoning in the server's form, not yet passed to core.
    reasoning: Map<String, Value>,
    calls: Calls,
    finish: Option<String>,
    /// Whether the answer came as one message, not in pieces.
    is_whole: bool,
    usage: Option<Usage>,
    size: AnswerSize,
    state: State,
}

enum State {
    Reading,
    Done,
    Failed(WireError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speech {
    Message,
    Reasoning,
}

/// The item whose deltas core receives.
struct Open {
    speech: Speech,
    id: String,
    text: String,
}

impl Decoder for ChatDecoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Event>, WireError> {
        let mut out = Vec::new();
        self.guarded(|decoder| decoder.read(name, data.trim(), &mut out))?;
        Ok(out)
    }

    fn done(&mut self) -> Result<Vec<Event>, WireError> {
        let mut out = Vec::new();
        self.guarded(|decoder| match decoder.state {
            State::Reading => decoder.done(&mut out),
            State::Done | State::Failed(_) => Ok(()),
        })?;
        Ok(out)
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, State::Reading) && self.finish.is_some()
    }

    fn end(&mut self) -> Result<Vec<Event>, WireError> {
        let mut out = Vec::new();
        self.guarded(|decoder| match (&decoder.state, &decoder.finish) {
            (State::Reading, Some(_)) => decoder.complete(&mut out),
            (State::Reading, None) if decoder.is_whole => decoder.done(&mut out),
            (State::Reading, None) => {
                Err(truncated("its stream ended before a finish_reason and [DONE]"))
            }
            (State::Done | State::Failed(_), _) => Ok(()),
        })?;
        Ok(out)
    }
}

impl ChatDecoder {
    pub(super) fn new(tools: Tools, provider: &str) -> Self {
        Self {
            tools,
            provider: provider.to_owned(),
            token: token(),
            id: None,
            index: 0,
            open: None,
            reasoning: Map::new(),
            calls: Calls::default(),
            finish: None,
            is_whole: false,
            usage: None,
            size: AnswerSize::default(),
            state: State::Reading,
        }
    }

    /// Runs a step. After a failure every later step returns the same failure.
    fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        let result = step(self);
        if let Err(error) = &result {
            self.state = State::Failed(error.clone());
        }
        result
    }

    fn read(&mut self, name: &str, data: &str, out: &mut Vec<Event>) -> Result<(), WireError> {
        if data.is_empty() || matches!(self.state, State::Done) {
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|error| {
            let shown = excerpt(data, EXCERPT_CHARS);
            invalid(format_args!("sent an event that is not JSON ({error}): {shown}"))
        })?;
        let chunk = &chunk;
        let has_choices = chunk["choices"].is_array();
        let place =
            if name == DOCUMENT && self.id.is_none() { Place::Document } else { Place::Stream };
        if name == "error"
            || kind(chunk) == "error"
            || chunk["object"] == "error"
            || is_error(&chunk["error"])
            || (!has_choices && is_words_only(chunk))
            || (!has_choices && place == Place::Document)
        {
            return Err(failure::of_value(API, place, chunk));
        }
        if !chunk.is_object() {
            let shown = excerpt(data, EXCERPT_CHARS);
            return Err(invalid(format_args!("sent an event that is not an object: {shown}")));
        }
        self.begin(chunk, out);
        self.count(&chunk["usage"]);
        self.count(at(chunk, "/x_groq/usage"));
        // `n` is never set, so only the first choice is valid.
        let choices = list(&chunk["choices"]).iter();
        for choice in choices.filter(|choice| choice["index"].as_u64().unwrap_or(0) == 0) {
            self.choice(choice, data.len(), out)?;
        }
        Ok(())
    }

    fn begin(&mut self, chunk: &Value, out: &mut Vec<Event>) {
        if self.id.is_none() {
            let id = chunk["id"]
                .as_str()
                .filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES)
                .unwrap_or("chat");
            let id = format!("{id}.{}", self.token);
            out.push(Event::created(&id));
            self.id = Some(id);
        }
    }

    /// Reads a choice. `chunk_bytes` is the size of the chunk around it.
    fn choice(
        &mut self,
        choice: &Value,
        chunk_bytes: usize,
        out: &mut Vec<Event>,
    ) -> Result<(), WireError> {
        if is_error(&choice["error"]) {
            return Err(failure::of_value(API, Place::Stream, &choice["error"]));
        }
        self.count(&choice["usage"]);
        // Servers that do not stream an answer send it as one message.
        let is_message = !choice["delta"].is_object() && choice["message"].is_object();
        self.is_whole |= is_message;
        let delta = if is_message { &choice["message"] } else { &choice["delta"] };
        self.reasoning(delta, chunk_bytes, out)?;
        match &delta["content"] {
            Value::Array(parts) => {
                for part in parts {
                    self.part(part, out)?;
                }
            }
            content => self.show(Speech::Message, content.as_str(), out)?,
        }
        self.show(Speech::Message, delta["refusal"].as_str(), out)?;
        match &delta["tool_calls"] {
            Value::Array(calls) => calls.iter().try_for_each(|call| self.call(call))?,
            call @ Value::Object(_) => self.call(call)?,
            _none => {}
        }
        if delta["function_call"].is_object() {
            self.call(&json!({ "index": 0, "function": delta["function_call"] }))?;
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finish = Some(reason.to_owned());
        }
        Ok(())
    }

    fn reasoning(
        &mut self,
        delta: &Value,
        chunk_bytes: usize,
        out: &mut Vec<Event>,
    ) -> Result<(), WireError> {
        let details = delta[DETAILS_FIELD].as_array().filter(|details| !details.is_empty());
        if details.is_some() {
            self.size.add(API, chunk_bytes)?;
        }
        let texts = TEXT_FIELDS.map(|field| delta[field].as_str().filter(|text| !text.is_empty()));
        let text_of_details = || {
            let text = |detail: &Value| {
                detail["text"].as_str().or(detail["summary"].as_str()).map(str::to_owned)
            };
            details.into_iter().flatten().filter_map(text).collect::<String>()
        };
        let shown = texts.into_iter().flatten().next().map_or_else(text_of_details, str::to_owned);
        // First show, then keep: showing may close an earlier item, which takes everything kept so
        // far.
        self.show(Speech::Reasoning, Some(&shown), out)?;
        for (field, text) in TEXT_FIELDS.into_iter().zip(texts) {
            if let Some(text) = text {
                self.size.add(API, text.len())?;
                reasoning::append(&mut self.reasoning, field, &json!(text));
            }
        }
        if details.is_some() {
            reasoning::append(&mut self.reasoning, DETAILS_FIELD, &delta[DETAILS_FIELD]);
        }
        Ok(())
    }

    /// Reads a part of content in Mistral's form.
    fn part(&mut self, part: &Value, out: &mut Vec<Event>) -> Result<(), WireError> {
        if kind(part) != "thinking" {
            return self.show(Speech::Message, part["text"].as_str(), out);
        }
        self.show(Speech::Reasoning, part["thinking"].as_str(), out)?;
        list(&part["thinking"])
            .iter()
            .try_for_each(|inner| self.show(Speech::Reasoning, inner["text"].as_str(), out))
    }

    /// Emits a piece of text, in an item of its kind.
    fn show(
        &mut self,
        speech: Speech,
        delta: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Result<(), WireError> {
        let Some(delta) = delta.filter(|delta| !delta.is_empty()) else { return Ok(()) };
        self.size.add(API, delta.len())?;
        if self.open.as_ref().is_some_and(|open| open.speech != speech) {
            self.close(out);
        }
        let (index, token) = (self.index, &self.token);
        let open = self.open.get_or_insert_with(|| {
            let prefix = if speech == Speech::Message { "msg" } else { "rs" };
            let id = format!("{prefix}_{token}_{index}");
            match speech {
                Speech::Message => out.push(Event::item_added(index, &item::empty_message(&id))),
                Speech::Reasoning => {
                    out.push(Event::item_added(index, &item::empty_reasoning(&id)));
                    out.push(Event::summary_added(&id, index));
                }
            }
            Open { speech, id, text: String::new() }
        });
        open.text.push_str(delta);
        out.push(match speech {
            Speech::Message => Event::text_delta(&open.id, index, delta),
            Speech::Reasoning => Event::summary_delta(&open.id, index, delta),
        });
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        let Some(Open { speech, id, text }) = self.open.take() else { return };
        let item = match speech {
            Speech::Message => item::message(&id, &text),
            Speech::Reasoning => self.reasoning_item(&id, &text),
        };
        self.item_done(&item, out);
    }

    /// Builds a reasoning item, with everything that the server expects back.
    fn reasoning_item(&mut self, id: &str, summary: &str) -> Value {
        let fields = std::mem::take(&mut self.reasoning);
        // The mark is set even without fields: an unmarked item would be sent to other providers.
        let marked = json!({ "wire": "chat", "provider": self.provider, "fields": fields });
        let marked = marked.to_string();
        item::reasoning(id, summary, Some(marked))
    }

    fn item_done(&mut self, item: &Value, out: &mut Vec<Event>) {
        out.push(Event::item_done(self.index, item));
        self.index += 1;
    }

    fn call(&mut self, fragment: &Value) -> Result<(), WireError> {
        let bytes = self.calls.add(fragment)?;
        self.size.add(API, bytes)
    }

    /// Ends the answer at `[DONE]`. Some servers send no finish_reason: then nothing may be
    /// missing.
    fn done(&mut self, out: &mut Vec<Event>) -> Result<(), WireError> {
        let answered = self.open.is_some() || self.index > 0 || !self.calls.is_empty();
        let is_known = self.finish.is_some() || self.is_whole;
        if !(is_known || answered && self.calls.are_complete()) {
            return Err(truncated("its stream was done without a finish_reason or a whole answer"));
        }
        self.complete(out)
    }

    fn complete(&mut self, out: &mut Vec<Event>) -> Result<(), WireError> {
        let incomplete = match self.finish.as_deref() {
            Some("length" | "max_tokens" | "model_length") => Some("max_output_tokens"),
            Some("content_filter") => Some("content_filter"),
            Some("error") => return Err(invalid("ended its answer with an unnamed error")),
            Some("abort" | "insufficient_system_resource") => {
                return Err(truncated("it aborted the answer"));
            }
            _ => None,
        };
        self.close(out);
        if !self.reasoning.is_empty() {
            let id = format!("rs_{}_{}", self.token, self.index);
            let item = self.reasoning_item(&id, "");
            self.item_done(&item, out);
        }
        let calls = std::mem::take(&mut self.calls);
        // A call that the limit cut off must not run.
        for item in calls.items(&self.tools, &self.token, incomplete.is_some())? {
            self.item_done(&item, out);
        }
        let id = self.id.clone().unwrap_or_else(|| format!("chat.{}", self.token));
        out.push(match incomplete {
            Some(reason) => Event::unfinished(&id, API, reason),
            None => Event::completed(&id, self.usage),
        });
        self.state = State::Done;
        Ok(())
    }

    /// Notes token counts. Servers send them in a last chunk without choices, in every chunk, in
    /// the choice, or never. The last ones count.
    fn count(&mut self, usage: &Value) {
        if usage.is_object() {
            self.usage = Some(usage::read(usage));
        }
    }
}

/// Whether the member `error` of a chunk reports one. Some servers always send it.
fn is_error(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Whether a chunk is an error without `error`, as frameworks and proxies write them.
fn is_words_only(chunk: &Value) -> bool {
    let words = ["message", "detail", "msg", "error_msg"];
    let has = |member: &str| !chunk[member].is_null();
    words.into_iter().any(has) && !has("usage") && !has("id") && !has("done")
}

/// Makes a token that no other answer of this or an earlier process has.
fn token() -> String {
    static START: OnceLock<u128> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{:x}{:04x}", START.get_or_init(now), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn invalid(defect: impl std::fmt::Display) -> WireError {
    WireError::invalid_stream(API, defect)
}

fn truncated(defect: &str) -> WireError {
    WireError::new(Code::Truncated, format!("{API}: {defect}"))
}
