//! `messages`: core's instructions and input items as chat messages.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::api::inexpressible;
use super::reasoning;
use super::tools::Tool;
use super::tools::Tools;
use crate::WireError;
use crate::json::at;
use crate::json::kind;
use crate::json::list;
use crate::json::set;

/// The assistant's side of a turn, until its message is complete.
#[derive(Debug, Default)]
struct Turn {
    texts: Vec<String>,
    reasoning: Map<String, Value>,
    calls: Vec<Value>,
}

/// The history under translation into `messages`.
pub(super) struct History<'a> {
    tools: &'a Tools,
    system: Vec<String>,
    messages: Vec<Value>,
    turn: Turn,
    /// Results by call id, in order: some servers number the calls of each answer anew.
    results: HashMap<&'a str, VecDeque<&'a Value>>,
}

impl<'a> History<'a> {
    pub(super) fn of(request: &'a Value, tools: &'a Tools) -> Result<Value, WireError> {
        let system =
            request["instructions"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let mut history = Self {
            tools,
            system: system.into_iter().collect(),
            messages: Vec::new(),
            turn: Turn::default(),
            results: HashMap::new(),
        };
        if let Some(text) = request["input"].as_str() {
            history.user(vec![json!({"type": "text", "text": text})]);
        }
        let orphans = history.pair(&request["input"]);
        for (at, item) in list(&request["input"]).iter().enumerate() {
            history.item(item, orphans.contains(&at))?;
        }
        history.finish()
    }

    /// Assigns results to calls. Returns the positions of results without a call.
    fn pair(&mut self, input: &'a Value) -> HashSet<usize> {
        let mut calls: HashMap<&str, usize> = HashMap::new();
        for id in
            list(input).iter().filter(|item| kind(item).ends_with("_call")).filter_map(call_id)
        {
            *calls.entry(id).or_default() += 1;
        }
        let mut orphans = HashSet::new();
        for (at, item) in
            list(input).iter().enumerate().filter(|(_, item)| kind(item).ends_with("_output"))
        {
            match call_id(item)
                .and_then(|id| calls.get_mut(id).filter(|left| **left > 0).map(|left| (id, left)))
            {
                Some((id, left)) => {
                    *left -= 1;
                    self.results.entry(id).or_default().push_back(item);
                }
                None => drop(orphans.insert(at)),
            }
        }
        orphans
    }

    fn item(&mut self, item: &'a Value, orphan: bool) -> Result<(), WireError> {
        match kind(item) {
            "message" => self.message(item)?,
            "reasoning" => self.reasoning(item),
            "function_call" => {
                self.call(
                    item,
                    item["name"].as_str(),
                    arguments(item["arguments"].as_str().unwrap_or_default()),
                );
            }
            "custom_tool_call" => {
                self.call(item, item["name"].as_str(), json!({"input": item["input"]}).to_string())
            }
            "tool_search_call" => {
                self.call(item, Some("tool_search"), arguments(&item["arguments"].to_string()))
            }
            "local_shell_call" => {
                self.call(item, Some("local_shell"), arguments(&item["action"].to_string()))
            }
            "function_call_output" | "custom_tool_call_output" | "tool_search_output" if orphan => {
                if let Some(id) = call_id(item) {
                    self.flush()?;
                    let (text, media) = self.result(item)?;
                    self.user(note(&format!(
                        "Result of the tool call {id}, which is not in this conversation:\n{text}"
                    )));
                    self.user(media);
                }
            }
            // Already written with its call: a result ends the turn that made the call.
            "function_call_output" | "custom_tool_call_output" | "tool_search_output" => {
                if self.turn.calls.iter().any(|call| call["id"].as_str() == call_id(item)) {
                    self.flush()?;
                }
            }
            "agent_message" => {
                let author = item["author"].as_str().unwrap_or("an agent");
                let mut content = note(&format!("Message from {author}:"));
                content.extend(parts(&item["content"])?);
                self.flush()?;
                self.user(content);
            }
            "compaction" | "compaction_summary" | "context_compaction" => {
                self.flush()?;
                self.user(note(
                    "Earlier parts of this conversation were compacted by OpenAI and cannot be \
                     read here.",
                ));
            }
            "additional_tools" | "web_search_call" | "image_generation_call" | "other" => {}
            other => return Err(inexpressible(format_args!("an input item of type `{other}`"))),
        }
        Ok(())
    }

    fn message(&mut self, item: &'a Value) -> Result<(), WireError> {
        let content = match item["content"].as_str() {
            Some(text) => vec![json!({"type": "text", "text": text})],
            None => parts(&item["content"])?,
        };
        let text = plain(&content);
        match item["role"].as_str() {
            Some("assistant") => self.turn.texts.extend(text.filter(|text| !text.is_empty())),
            Some("developer" | "system") => {
                self.flush()?;
                match text {
                    Some(text) if text.is_empty() => {}
                    Some(text) if self.messages.is_empty() => self.system.push(text),
                    Some(text) => self
                        .user(note(&format!("<developer_message>\n{text}\n</developer_message>"))),
                    None => self.user(content),
                }
            }
            _user => {
                self.flush()?;
                self.user(content);
            }
        }
        Ok(())
    }

    /// Restores the reasoning that the decoder passed to core.
    fn reasoning(&mut self, item: &Value) {
        let kept = item["encrypted_content"]
            .as_str()
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(kept) = kept.filter(|kept| kept["wire"] == "chat") else { return };
        for (field, value) in at(&kept, "/fields").as_object().into_iter().flatten() {
            reasoning::append(&mut self.turn.reasoning, field, value);
        }
    }

    fn call(&mut self, item: &Value, name: Option<&str>, arguments: String) {
        // OpenAI itself ran a call without an id.
        let (Some(id), Some(name)) = (call_id(item), name.filter(|name| !name.is_empty())) else {
            return;
        };
        let name = self.tools.wire_name(item["namespace"].as_str(), name);
        let function = json!({"name": name, "arguments": arguments});
        self.turn.calls.push(json!({"id": id, "type": "function", "function": function}));
    }

    /// Appends the assistant's message and the results of its calls.
    fn flush(&mut self) -> Result<(), WireError> {
        let turn = std::mem::take(&mut self.turn);
        if turn.texts.is_empty() && turn.calls.is_empty() {
            return Ok(());
        }
        let mut message = turn.reasoning;
        message.insert("role".into(), json!("assistant"));
        let content =
            if turn.texts.is_empty() { Value::Null } else { json!(turn.texts.join("\n\n")) };
        message.insert("content".into(), content);
        let ids: Vec<String> =
            turn.calls.iter().filter_map(|call| call["id"].as_str().map(str::to_owned)).collect();
        if !turn.calls.is_empty() {
            message.insert("tool_calls".into(), Value::Array(turn.calls));
        }
        self.messages.push(Value::Object(message));
        let mut shown = Vec::new();
        for id in ids {
            let result = self.results.get_mut(id.as_str()).and_then(VecDeque::pop_front);
            let (text, media) = match result {
                Some(item) => self.result(item)?,
                None => ("aborted: this call has no result".to_owned(), Vec::new()),
            };
            self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
            if !media.is_empty() {
                shown.extend(note(&format!("Attached to the result of the tool call {id}:")));
                shown.extend(media);
            }
        }
        self.user(shown);
        Ok(())
    }

    /// Splits a result into its text and its other parts.
    fn result(&self, item: &Value) -> Result<(String, Vec<Value>), WireError> {
        let output = &item["output"];
        if kind(item) == "tool_search_output" {
            let found = Tools::found_by(item);
            let wire_name =
                |tool: &Tool| self.tools.wire_name(tool.namespace.as_deref(), &tool.name);
            let names: Vec<_> = found.iter().map(wire_name).collect();
            let (count, names) = (names.len(), names.join(", "));
            let text = format!("Found {count} tools, which can be called now: {names}");
            return Ok((text, Vec::new()));
        }
        match output {
            Value::String(text) => Ok((text.clone(), Vec::new())),
            Value::Array(_) => {
                let (text, media): (Vec<_>, Vec<_>) =
                    parts(output)?.into_iter().partition(|part| kind(part) == "text");
                let mut text = texts(&text).join("\n");
                if text.is_empty() && !media.is_empty() {
                    text.push_str("(see the next message)");
                }
                Ok((text, media))
            }
            other => Ok((
                other["content"].as_str().map_or_else(|| other.to_string(), str::to_owned),
                Vec::new(),
            )),
        }
    }

    /// Extends the user's message, or begins one.
    fn user(&mut self, content: Vec<Value>) {
        if content.is_empty() {
            return;
        }
        if let Some(last) = self.messages.last_mut().filter(|last| last["role"] == "user")
            && let Some(earlier) = last["content"].as_array_mut()
        {
            earlier.extend(content);
            return;
        }
        self.messages.push(json!({"role": "user", "content": content}));
    }

    fn finish(mut self) -> Result<Value, WireError> {
        self.flush()?;
        for message in self.messages.iter_mut().filter(|message| message["role"] == "user") {
            // Text alone becomes a string: templates of text-only models accept nothing else.
            if let Some(text) = message["content"].as_array().and_then(|content| plain(content)) {
                set(message, "content", json!(text));
            }
        }
        if !self.system.is_empty() {
            self.messages.insert(0, json!({"role": "system", "content": self.system.join("\n\n")}));
        }
        if self.messages.is_empty() {
            return Err(inexpressible("a request without any message"));
        }
        Ok(Value::Array(self.messages))
    }
}

/// Translates content items into the parts of a message.
fn parts(content: &Value) -> Result<Vec<Value>, WireError> {
    list(content).iter().map(part).collect()
}

fn part(item: &Value) -> Result<Value, WireError> {
    let text = |text: &Value| json!({"type": "text", "text": text.as_str().unwrap_or_default()});
    match (kind(item), item["image_url"].as_str(), item["audio_url"].as_str()) {
        ("input_text" | "output_text" | "text", ..) => Ok(text(&item["text"])),
        ("refusal", ..) => Ok(text(&item["refusal"])),
        ("encrypted_content", ..) => {
            Ok(text(&json!("(encrypted content, which cannot be read here)")))
        }
        ("input_image", Some(url), _) => {
            let mut image = json!({ "url": url });
            let detail = item["detail"].as_str();
            let detail = detail.map(|detail| if detail == "original" { "high" } else { detail });
            set(&mut image, "detail", detail.map(Value::from));
            Ok(json!({"type": "image_url", "image_url": image}))
        }
        ("input_audio", _, Some(url)) => {
            let (format, data) = url
                .strip_prefix("data:audio/")
                .and_then(|rest| rest.split_once(";base64,"))
                .ok_or_else(|| inexpressible("audio that is not a base64 `data:audio/…` URI"))?;
            let format = match format {
                "mpeg" => "mp3",
                "x-wav" | "wave" => "wav",
                same => same,
            };
            Ok(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
        }
        (other, ..) => Err(inexpressible(format_args!("content of type `{other}`"))),
    }
}

/// Joins parts that are all text.
fn plain(parts: &[Value]) -> Option<String> {
    parts.iter().all(|part| kind(part) == "text").then(|| texts(parts).join("\n\n"))
}

fn texts(parts: &[Value]) -> Vec<&str> {
    parts.iter().filter_map(|part| part["text"].as_str()).collect()
}

fn note(text: &str) -> Vec<Value> {
    vec![json!({"type": "text", "text": text})]
}

/// Makes arguments parseable: servers reject a history with malformed ones, which models do write.
fn arguments(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => text.to_owned(),
        _ if text.trim().is_empty() => "{}".to_owned(),
        _ => json!({"invalid_arguments": text}).to_string(),
    }
}

fn call_id(item: &Value) -> Option<&str> {
    item["call_id"].as_str().filter(|id| !id.is_empty())
}
