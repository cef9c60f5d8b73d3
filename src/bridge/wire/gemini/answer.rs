//! Reads one answer: chunks of GenerateContentResponse in, Responses events out. The end is told when the stream ends, for a
//! chunk may follow the one that bears the finishReason.

use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::{Value, json};

use super::super::{Decoder, Failure, unfinished};
use super::tools::Catalog;
use super::{Model, brief, fault, garbled, put, refuse};

/// What the answer is in the middle of.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Message(String),
    Reasoning(String),
}

/// Reads one answer. Items come strictly one after the other: core attaches a delta to the item that was added last.
#[derive(Debug, Default)]
pub(super) struct Answer {
    catalog: Catalog,
    model: String,
    id: String,
    started: bool,
    open: Open,
    /// How many items have ended: the index of the open one.
    index: u64,
    /// Signatures that wait for a reasoning item to carry them.
    carried: Vec<Value>,
    finish: Option<String>,
    remark: String,
    usage: Value,
    broken: Option<Failure>,
}

impl Decoder for Answer {
    fn event(&mut self, _name: &str, data: &str) -> Result<Vec<Value>, Failure> {
        let mut out = Vec::new();
        let read = self.sound().and_then(|()| self.read(data.trim(), &mut out));
        if let Err(failure) = &read {
            self.broken = Some(failure.clone());
        }
        read.map(|()| out)
    }

    fn end(&mut self) -> Result<Vec<Value>, Failure> {
        let verdict = self.sound().and_then(|()| self.verdict());
        let after = || garbled("something after the end of its answer");
        self.broken = Some(verdict.as_ref().err().cloned().unwrap_or_else(after));
        let incomplete = verdict?;
        let mut out = Vec::new();
        self.close(&mut out);
        self.seal(&mut out);
        let (id, usage) = (&self.id, usage(&self.usage));
        let said = self.said();
        out.push(match incomplete {
            None => json!({"type": "response.completed", "response": {"id": id, "usage": usage}}),
            Some(reason) => unfinished(id, &format!("Gemini (finishReason {said})"), reason),
        });
        Ok(out)
    }
}

impl Answer {
    pub(super) fn new(ask: &Value) -> Self {
        // A name for ids where Gemini gives none; a random one, for it must differ from all others of the conversation.
        let id = format!("gemini-{:016x}", RandomState::new().build_hasher().finish());
        let model = Model::of(ask).map(|model| model.name).unwrap_or_default();
        Self { catalog: Catalog::read(ask), model, id, ..Self::default() }
    }

    fn sound(&self) -> Result<(), Failure> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn read(&mut self, data: &str, out: &mut Vec<Value>) -> Result<(), Failure> {
        // Some servers in between end as OpenAI does.
        if data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        match serde_json::from_str(data) {
            Ok(Value::Array(chunks)) => chunks.iter().try_for_each(|chunk| self.chunk(chunk, out)),
            Ok(chunk) => self.chunk(&chunk, out),
            Err(error) => {
                Err(garbled(format!("an event that is no JSON ({error}): {}", brief(data))))
            }
        }
    }

    fn chunk(&mut self, chunk: &Value, out: &mut Vec<Value>) -> Result<(), Failure> {
        if chunk["error"].is_object() {
            return Err(fault(0, &chunk["error"]));
        }
        let known = ["candidates", "usageMetadata", "promptFeedback", "responseId", "modelVersion"];
        if !known.iter().any(|key| chunk.get(key).is_some()) {
            let shown = brief(&chunk.to_string());
            return Err(garbled(format!("an event that is no GenerateContentResponse: {shown}")));
        }
        if !self.started {
            self.started = true;
            if let Some(id) = chunk["responseId"].as_str().filter(|id| !id.is_empty()) {
                self.id = id.to_owned();
            }
            out.push(json!({"type": "response.created", "response": {"id": self.id}}));
        }
        if chunk["usageMetadata"].is_object() {
            self.usage = chunk["usageMetadata"].clone();
        }
        let feedback = &chunk["promptFeedback"];
        if let Some(reason) = feedback["blockReason"].as_str() {
            let words = brief(feedback["blockReasonMessage"].as_str().unwrap_or_default());
            return Err(refuse(format!("the prompt was blocked ({reason}) {words}")));
        }
        let Some(candidate) = chunk.pointer("/candidates/0") else { return Ok(()) };
        match candidate.pointer("/content/parts") {
            None | Some(Value::Null) => {}
            Some(Value::Array(parts)) => parts.iter().try_for_each(|part| self.part(part, out))?,
            Some(other) => {
                return Err(garbled(format!(
                    "parts that are no list: {}",
                    brief(&other.to_string())
                )));
            }
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            self.finish = Some(brief(reason));
            self.remark = brief(candidate["finishMessage"].as_str().unwrap_or_default());
        }
        Ok(())
    }

    fn part(&mut self, part: &Value, out: &mut Vec<Value>) -> Result<(), Failure> {
        let signature = Some(&part["thoughtSignature"]).filter(|signature| signature.is_string());
        if part["functionCall"].is_object() {
            return self.call(&part["functionCall"], signature, out);
        }
        let told = ["text", "thought", "thoughtSignature", "partMetadata"];
        let strange =
            part.as_object().and_then(|map| map.keys().find(|key| !told.contains(&key.as_str())));
        if let Some(key) = strange {
            return Err(refuse(format!(
                "the answer holds a part that was not asked for: {}",
                brief(key)
            )));
        }
        let text = match &part["text"] {
            Value::String(text) => text.as_str(),
            Value::Null if part.is_object() => "",
            _ => return Err(garbled(format!("a part that is none: {}", brief(&part.to_string())))),
        };
        if part["thought"] == true {
            self.think(text, out);
            self.carried.extend(signature.map(|_| part.clone()));
            return Ok(());
        }
        let at = self.say(text, out);
        self.carried.extend(signature.map(|signature| match at {
            Some(at) => json!({"at": at, "text": text, "thoughtSignature": signature}),
            None => json!({"text": text, "thoughtSignature": signature}),
        }));
        Ok(())
    }

    fn item(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.id, self.index)
    }

    /// Shows text as part of a message; says where in it, or nothing where neither a message is open nor a text begins one.
    fn say(&mut self, text: &str, out: &mut Vec<Value>) -> Option<usize> {
        if !matches!(self.open, Open::Message(_)) {
            if text.is_empty() {
                return None;
            }
            self.seal(out);
            let item = json!({"type": "message", "role": "assistant", "id": self.item("msg"), "content": []});
            out.push(json!({"type": "response.output_item.added", "output_index": self.index, "item": item}));
            self.open = Open::Message(String::new());
        }
        let id = self.item("msg");
        let Open::Message(whole) = &mut self.open else { return None };
        let at = whole.len();
        whole.push_str(text);
        if !text.is_empty() {
            out.push(json!({"type": "response.output_text.delta", "item_id": id, "output_index": self.index,
                "content_index": 0, "delta": text}));
        }
        Some(at)
    }

    /// Shows a piece of the thought summary.
    fn think(&mut self, text: &str, out: &mut Vec<Value>) {
        if text.is_empty() {
            return;
        }
        self.close(out);
        let id = self.item("rs");
        if !matches!(self.open, Open::Reasoning(_)) {
            self.begin_reasoning(out);
            out.push(json!({"type": "response.reasoning_summary_part.added", "item_id": id,
                "output_index": self.index, "summary_index": 0}));
            self.open = Open::Reasoning(String::new());
        }
        if let Open::Reasoning(whole) = &mut self.open {
            whole.push_str(text);
        }
        out.push(json!({"type": "response.reasoning_summary_text.delta", "item_id": id, "output_index": self.index,
            "summary_index": 0, "delta": text}));
    }

    fn begin_reasoning(&self, out: &mut Vec<Value>) {
        let item = json!({"type": "reasoning", "id": self.item("rs"), "summary": []});
        out.push(
            json!({"type": "response.output_item.added", "output_index": self.index, "item": item}),
        );
    }

    /// Ends an open message.
    fn close(&mut self, out: &mut Vec<Value>) {
        if !matches!(self.open, Open::Message(_)) {
            return;
        }
        if let Open::Message(text) = std::mem::take(&mut self.open) {
            let content = json!([{"type": "output_text", "text": text}]);
            self.done(json!({"type": "message", "role": "assistant", "id": self.item("msg"), "content": content}), out);
        }
    }

    /// Ends an open reasoning item, or makes one where signatures wait.
    fn seal(&mut self, out: &mut Vec<Value>) {
        let summary = match std::mem::take(&mut self.open) {
            Open::Reasoning(text) => json!([{"type": "summary_text", "text": text}]),
            Open::Nothing if !self.carried.is_empty() => {
                self.begin_reasoning(out);
                json!([])
            }
            other => {
                self.open = other;
                return;
            }
        };
        let blocks = std::mem::take(&mut self.carried);
        let carried = json!({"wire": "gemini", "model": self.model, "blocks": blocks});
        let carried =
            if blocks.is_empty() { Value::Null } else { Value::String(carried.to_string()) };
        let id = self.item("rs");
        self.done(json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": carried}), out);
    }

    fn done(&mut self, item: Value, out: &mut Vec<Value>) {
        out.push(
            json!({"type": "response.output_item.done", "output_index": self.index, "item": item}),
        );
        self.index += 1;
    }

    /// Hands a call on. Calls come whole.
    fn call(
        &mut self,
        call: &Value,
        signature: Option<&Value>,
        out: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let pieces = call.get("partialArgs").is_some() || call["willContinue"] == true;
        let (Some(name), false) = (call["name"].as_str().filter(|name| !name.is_empty()), pieces)
        else {
            return Err(garbled(format!("a call that is not whole: {}", brief(&call.to_string()))));
        };
        let args = match &call["args"] {
            Value::Null => json!({}),
            args @ Value::Object(_) => args.clone(),
            _ => {
                return Err(garbled(format!(
                    "arguments that are no object: {}",
                    brief(&call.to_string())
                )));
            }
        };
        self.close(out);
        let given = call["id"].as_str().filter(|id| !id.is_empty());
        // The next index but one at most: a reasoning item may come between.
        let call_id = given.map_or_else(|| self.item("call"), str::to_owned);
        self.carried.extend(
            signature.map(|signature| json!({"call": call_id, "thoughtSignature": signature})),
        );
        self.seal(out);
        let tool = self.catalog.tools.iter().find(|tool| tool.wire == name);
        let name = tool.map_or(name, |tool| tool.name.as_str());
        let mut item = if tool.is_some_and(|tool| tool.custom) {
            // Where the model forgot the parameter, what it wrote is the input.
            let input = args.get("input").unwrap_or(&args);
            let input = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
            json!({"type": "custom_tool_call", "id": self.item("ctc"), "call_id": call_id, "name": name, "input": input})
        } else {
            let arguments = args.to_string();
            json!({"type": "function_call", "id": self.item("fc"), "call_id": call_id, "name": name,
                "arguments": arguments})
        };
        put(
            &mut item,
            "namespace",
            tool.and_then(|tool| tool.namespace.as_deref()).map(Value::from),
        );
        self.done(item, out);
        Ok(())
    }

    /// How Gemini puts its end.
    fn said(&self) -> String {
        let finish = self.finish.as_deref().unwrap_or_default();
        format!("{finish} {}", self.remark).trim_end().to_owned()
    }

    /// What the end of the stream means: whole, or incomplete for a reason.
    fn verdict(&self) -> Result<Option<&'static str>, Failure> {
        let Some(finish) = self.finish.as_deref() else {
            let missing = if self.started { "a finishReason" } else { "the first event" };
            let message = format!("Gemini's stream ended before {missing}");
            return Err(Failure { code: "stream_cut", message, retryable: true });
        };
        let said = self.said();
        match finish {
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
                Err(refuse(format!("stopped: {said}")))
            }
            // MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, TOO_MANY_TOOL_CALLS, OTHER, …: chance may do better.
            _ => Err(garbled(format!("an answer that it stopped itself: {said}"))),
        }
    }
}

/// Usage as the Responses API counts: cached tokens are input, thoughts are output.
fn usage(counts: &Value) -> Value {
    let count = |key: &str| counts[key].as_i64().unwrap_or_default().max(0);
    let input = count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount"));
    let thoughts = count("thoughtsTokenCount");
    let output = count("candidatesTokenCount").saturating_add(thoughts);
    let total = counts["totalTokenCount"].as_i64().unwrap_or_else(|| input.saturating_add(output));
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": count("cachedContentTokenCount")},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": thoughts},
        "total_tokens": total,
    })
}
