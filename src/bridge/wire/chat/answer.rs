//! The stream of an answer: `chat.completion.chunk` objects, then `[DONE]`, as Responses events.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::super::{Decoder, Failure, unfinished};
use super::calls::Calls;
use super::tools::Tools;
use super::usage::tokens;
use super::{WHO, absorb, at, broken, items, kind, refusal, set};

/// More text than any model writes: beyond it the server is broken.
const ANSWER_LIMIT: usize = 32 << 20;
/// Fields of a delta in which servers put reasoning; the first that has text is shown.
const REASONING_TEXT: [&str; 2] = ["reasoning_content", "reasoning"];
const REASONING_DETAILS: &str = "reasoning_details";

/// Reads one answer. Core follows one item at a time, so at most one is open; calls wait for the end.
pub(super) struct Answer {
    tools: Tools,
    /// Makes ids that no other answer has: local servers reuse theirs, and core keys items by them.
    token: String,
    id: Option<String>,
    items: usize,
    open: Option<Open>,
    /// Reasoning as the server gave it and wants it back, not yet handed to core.
    kept: Map<String, Value>,
    calls: Calls,
    finish: Option<String>,
    usage: Option<Value>,
    heard: usize,
    state: State,
}

enum State {
    Reading,
    Done,
    Broken(Failure),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speech {
    Message,
    Reasoning,
}

/// The item that core is being shown.
struct Open {
    speech: Speech,
    id: String,
    text: String,
}

impl Decoder for Answer {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Value>, Failure> {
        let mut out = Vec::new();
        self.guarded(|answer| answer.read(name, data.trim(), &mut out))?;
        Ok(out)
    }

    fn end(&mut self) -> Result<Vec<Value>, Failure> {
        let mut out = Vec::new();
        self.guarded(|answer| match (&answer.state, &answer.finish) {
            (State::Reading, Some(_)) => answer.complete(&mut out),
            (State::Reading, None) => {
                Err(cut("its stream ended before a finish_reason and [DONE]"))
            }
            (State::Done | State::Broken(_), _) => Ok(()),
        })?;
        Ok(out)
    }
}

impl Answer {
    pub(super) fn new(tools: Tools) -> Self {
        Self {
            tools,
            token: token(),
            id: None,
            items: 0,
            open: None,
            kept: Map::new(),
            calls: Calls::default(),
            finish: None,
            usage: None,
            heard: 0,
            state: State::Reading,
        }
    }

    /// A broken answer stays broken.
    fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if let State::Broken(failure) = &self.state {
            return Err(failure.clone());
        }
        let result = step(self);
        if let Err(failure) = &result {
            self.state = State::Broken(failure.clone());
        }
        result
    }

    fn read(&mut self, name: &str, data: &str, out: &mut Vec<Value>) -> Result<(), Failure> {
        if data.is_empty() || matches!(self.state, State::Done) {
            return Ok(());
        }
        if data == "[DONE]" {
            return self.done(out);
        }
        self.weigh(0, data.len())?;
        let parsed: Value = serde_json::from_str(data).map_err(|error| {
            broken(&format!("sent an event that is not JSON ({error}): {data}"))
        })?;
        let chunk = &parsed;
        if name == "error"
            || kind(chunk) == "error"
            || chunk["object"] == "error"
            || !chunk["error"].is_null()
        {
            return Err(refusal(None, chunk));
        }
        if !chunk.is_object() {
            return Err(broken(&format!("sent an event that is not an object: {data}")));
        }
        self.begin(chunk, out);
        self.measure(&chunk["usage"]);
        self.measure(at(chunk, "/x_groq/usage"));
        // `n` is never asked for: any choice but the first is not ours.
        for choice in
            items(&chunk["choices"]).filter(|choice| choice["index"].as_u64().unwrap_or(0) == 0)
        {
            self.choice(choice, data.len(), out)?;
        }
        Ok(())
    }

    fn begin(&mut self, chunk: &Value, out: &mut Vec<Value>) {
        if self.id.is_none() {
            let theirs = chunk["id"]
                .as_str()
                .filter(|id| !id.is_empty() && id.len() <= 200)
                .unwrap_or("chat");
            let id = format!("{theirs}.{}", self.token);
            out.push(json!({"type": "response.created", "response": {"id": id}}));
            self.id = Some(id);
        }
    }

    fn choice(&mut self, choice: &Value, size: usize, out: &mut Vec<Value>) -> Result<(), Failure> {
        if !choice["error"].is_null() {
            return Err(refusal(None, choice));
        }
        self.measure(&choice["usage"]);
        // Servers that do not stream an answer send it whole.
        let delta = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
        self.reasoning(delta, size, out)?;
        match &delta["content"] {
            Value::Array(parts) => {
                for part in parts {
                    self.part(part, out)?;
                }
            }
            content => self.say(Speech::Message, content.as_str(), out)?,
        }
        self.say(Speech::Message, delta["refusal"].as_str(), out)?;
        match &delta["tool_calls"] {
            Value::Array(calls) => calls.iter().try_for_each(|call| self.call(call))?,
            call @ Value::Object(_) => self.call(call)?,
            _none => {}
        }
        if delta["function_call"].is_object() {
            self.call(&json!({"index": 0, "function": delta["function_call"]}))?;
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finish = Some(reason.to_owned());
        }
        Ok(())
    }

    fn reasoning(
        &mut self,
        delta: &Value,
        size: usize,
        out: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let details = delta[REASONING_DETAILS].as_array().filter(|details| !details.is_empty());
        if details.is_some() {
            self.weigh(size, 0)?;
        }
        let texts =
            REASONING_TEXT.map(|field| delta[field].as_str().filter(|text| !text.is_empty()));
        let of_details = || {
            let text = |detail: &Value| {
                detail["text"].as_str().or(detail["summary"].as_str()).map(str::to_owned)
            };
            details.into_iter().flatten().filter_map(text).collect::<String>()
        };
        let shown = texts.into_iter().flatten().next().map_or_else(of_details, str::to_owned);
        // First the item, then what it keeps: closing an earlier item must not take these along.
        self.say(Speech::Reasoning, Some(&shown), out)?;
        for (field, text) in REASONING_TEXT.into_iter().zip(texts) {
            if let Some(text) = text {
                self.weigh(text.len(), 0)?;
                absorb(&mut self.kept, field, &json!(text));
            }
        }
        if details.is_some() {
            absorb(&mut self.kept, REASONING_DETAILS, &delta[REASONING_DETAILS]);
        }
        Ok(())
    }

    /// A part of content as Mistral sends it.
    fn part(&mut self, part: &Value, out: &mut Vec<Value>) -> Result<(), Failure> {
        if kind(part) != "thinking" {
            return self.say(Speech::Message, part["text"].as_str(), out);
        }
        self.say(Speech::Reasoning, part["thinking"].as_str(), out)?;
        items(&part["thinking"])
            .try_for_each(|inner| self.say(Speech::Reasoning, inner["text"].as_str(), out))
    }

    /// Shows a piece of text, in an item of its kind.
    fn say(
        &mut self,
        speech: Speech,
        delta: Option<&str>,
        out: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let Some(delta) = delta.filter(|delta| !delta.is_empty()) else { return Ok(()) };
        self.weigh(delta.len(), 0)?;
        if self.open.as_ref().is_some_and(|open| open.speech != speech) {
            self.close(out);
        }
        let (at, token) = (self.items, &self.token);
        let open = self.open.get_or_insert_with(|| {
            let prefix = if speech == Speech::Message { "msg" } else { "rs" };
            let id = format!("{prefix}_{token}_{at}");
            let added = |item: Value| json!({"type": "response.output_item.added", "output_index": at, "item": item});
            match speech {
                Speech::Message => {
                    out.push(added(json!({"type": "message", "role": "assistant", "id": id, "content": []})));
                }
                Speech::Reasoning => {
                    out.push(added(json!({"type": "reasoning", "id": id, "summary": []})));
                    out.push(json!({"type": "response.reasoning_summary_part.added", "item_id": id,
                        "output_index": at, "summary_index": 0}));
                }
            }
            Open { speech, id, text: String::new() }
        });
        open.text.push_str(delta);
        out.push(match speech {
            Speech::Message => json!({"type": "response.output_text.delta", "item_id": open.id,
                "output_index": at, "content_index": 0, "delta": delta}),
            Speech::Reasoning => {
                json!({"type": "response.reasoning_summary_text.delta", "item_id": open.id,
                "output_index": at, "summary_index": 0, "delta": delta})
            }
        });
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<Value>) {
        let Some(Open { speech, id, text }) = self.open.take() else { return };
        let item = match speech {
            Speech::Message => json!({"type": "message", "role": "assistant", "id": id,
                "content": [{"type": "output_text", "text": text}]}),
            Speech::Reasoning => self.thought(id, json!([{"type": "summary_text", "text": text}])),
        };
        self.finished(item, out);
    }

    /// A reasoning item, with what the server wants back.
    fn thought(&mut self, id: String, summary: Value) -> Value {
        let fields = std::mem::take(&mut self.kept);
        // The mark is there even where there is nothing to keep: without it, another provider would be sent it.
        let kept = json!({"wire": "chat", "fields": fields}).to_string();
        json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": kept})
    }

    fn finished(&mut self, item: Value, out: &mut Vec<Value>) {
        out.push(
            json!({"type": "response.output_item.done", "output_index": self.items, "item": item}),
        );
        self.items += 1;
    }

    fn call(&mut self, fragment: &Value) -> Result<(), Failure> {
        let taken = self.calls.take(fragment)?;
        self.weigh(taken, 0)
    }

    /// `[DONE]`: the end, also for servers that give no finish_reason, provided that nothing is missing.
    fn done(&mut self, out: &mut Vec<Value>) -> Result<(), Failure> {
        let answered = self.open.is_some() || self.items > 0 || !self.calls.is_empty();
        if self.finish.is_none() && !(answered && self.calls.are_whole()) {
            return Err(cut("its stream was done without a finish_reason or a whole answer"));
        }
        self.complete(out)
    }

    fn complete(&mut self, out: &mut Vec<Value>) -> Result<(), Failure> {
        let incomplete = match self.finish.as_deref() {
            Some("length" | "max_tokens" | "model_length") => Some("max_output_tokens"),
            Some("content_filter") => Some("content_filter"),
            Some("error") => {
                return Err(broken("ended its answer with an error that it does not name"));
            }
            Some("abort" | "insufficient_system_resource") => {
                return Err(cut("it aborted the answer"));
            }
            _ => None,
        };
        self.close(out);
        if !self.kept.is_empty() {
            let id = format!("rs_{}_{}", self.token, self.items);
            let item = self.thought(id, json!([]));
            self.finished(item, out);
        }
        let calls = std::mem::take(&mut self.calls);
        // What the limit cut off must not be run.
        for item in calls.items(&self.tools, &self.token, incomplete.is_some())? {
            self.finished(item, out);
        }
        let id = self.id.clone().unwrap_or_else(|| format!("chat.{}", self.token));
        out.push(match incomplete {
            Some(reason) => unfinished(&id, WHO, reason),
            None => {
                let mut response = json!({"id": id});
                if let Some(usage) = &self.usage {
                    set(&mut response, "usage", usage.clone());
                }
                json!({"type": "response.completed", "response": response})
            }
        });
        self.state = State::Done;
        Ok(())
    }

    /// Usage comes in a last chunk without choices, in every chunk, in the choice, or never. The last one counts.
    fn measure(&mut self, usage: &Value) {
        if usage.is_object() {
            self.usage = Some(tokens(usage));
        }
    }

    /// Bounds what is kept, and one event.
    fn weigh(&mut self, kept: usize, event: usize) -> Result<(), Failure> {
        self.heard = self.heard.saturating_add(kept);
        if self.heard > ANSWER_LIMIT || event > ANSWER_LIMIT {
            return Err(broken(&format!("sent an answer of more than {ANSWER_LIMIT} bytes")));
        }
        Ok(())
    }
}

/// Unlike any other of this and earlier processes.
fn token() -> String {
    static START: OnceLock<u128> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{:x}{:04x}", START.get_or_init(now), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn cut(what: &str) -> Failure {
    Failure { code: "stream_cut", message: format!("{WHO}: {what}"), retryable: true }
}
