//! Core's items as turns of alternating sides, with every call answered at the start of the turn after it.

use super::tools::{Tools, spec, spelled};
use super::{Failure, WIRE, invalid, list, text};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

/// Ends a history that does not end with the user: the newer models refuse to continue an assistant's message.
const GO_ON: &str = "Continue.";

/// What one side said until the other did.
pub(super) struct Turn {
    pub(super) user: bool,
    pub(super) blocks: Vec<Value>,
}

impl Turn {
    pub(super) fn message(self) -> Value {
        json!({"role": if self.user { "user" } else { "assistant" }, "content": self.blocks})
    }
}

/// Core's items, put into turns.
pub(super) struct History<'a> {
    model: &'a str,
    tools: &'a Tools,
    /// Outputs by the call they belong to, until the call takes them.
    results: HashMap<&'a str, VecDeque<&'a Value>>,
    /// The results of the last turn's calls: they open the user's next one.
    owed: Vec<Value>,
    ids: HashSet<String>,
    /// The system prompt's blocks: instructions, and what the developer said before anyone else.
    pub(super) system: Vec<Value>,
    turns: Vec<Turn>,
}

impl<'a> History<'a> {
    pub(super) fn read(ask: &'a Value, model: &'a str, tools: &'a Tools) -> Result<Self, Failure> {
        let system = ask["instructions"].as_str().and_then(text).into_iter().collect();
        let (results, ids, turns) = (HashMap::new(), HashSet::new(), Vec::new());
        let mut history = Self { model, tools, results, owed: Vec::new(), ids, system, turns };
        if let Some(said) = ask["input"].as_str() {
            history.say(true, text(said));
        }
        let items = list(&ask["input"]);
        if items.is_empty() && history.turns.is_empty() {
            return Err(invalid("the request has no input"));
        }
        let calls: HashSet<&str> = items.iter().filter(|item| is_call(item)).map(call_id).collect();
        for item in items.iter().filter(|item| is_output(item) && calls.contains(call_id(item))) {
            history.results.entry(call_id(item)).or_default().push_back(item);
        }
        for item in items {
            history.item(item, &calls)?;
        }
        history.settle();
        Ok(history)
    }

    fn item(&mut self, item: &'a Value, calls: &HashSet<&str>) -> Result<(), Failure> {
        match kind(item) {
            "message" => self.message(item),
            "reasoning" => {
                let carried = item["encrypted_content"]
                    .as_str()
                    .and_then(|text| serde_json::from_str::<Value>(text).ok());
                if let Some(carried) = carried
                    .filter(|carried| carried["wire"] == WIRE && carried["model"] == self.model)
                {
                    self.say(
                        false,
                        list(&carried["blocks"]).iter().filter(|block| is_thinking(block)).cloned(),
                    );
                }
            }
            "function_call" => {
                self.call(item, self.tools.wire_of(item), arguments(&item["arguments"]))
            }
            "custom_tool_call" => {
                self.call(item, self.tools.wire_of(item), json!({"input": item["input"]}))
            }
            "local_shell_call" => {
                self.call(item, "local_shell".to_owned(), json!({"action": item["action"]}))
            }
            // The call has taken it; all that is left to know is that the assistant's turn is over.
            _ if is_output(item) && calls.contains(call_id(item)) => self.settle(),
            _ if is_output(item) => {
                self.say(
                    true,
                    note("the result of a tool call that is no longer in the conversation follows"),
                );
                self.say(true, blocks(&item["output"]));
            }
            "agent_message" => {
                let name = |key: &str| item[key].as_str().unwrap_or("an agent").to_owned();
                self.say(
                    true,
                    text(&format!("Message from {} to {}:", name("author"), name("recipient"))),
                );
                self.say(true, blocks(&item["content"]));
            }
            "compaction" | "compaction_summary" | "context_compaction" => {
                self.say(true, note("earlier messages were compacted by another provider and cannot be read here"));
            }
            "compaction_trigger" => {
                return Err(invalid("it has no compaction on the server's side"));
            }
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, item: &Value) {
        match item["role"].as_str() {
            Some("assistant") => self.say(
                false,
                blocks(&item["content"]).into_iter().filter(|block| block["type"] == "text"),
            ),
            Some("developer" | "system") if self.turns.is_empty() => {
                let said = blocks(&item["content"]).into_iter();
                self.system.extend(said.filter(|block| block["type"] == "text"))
            }
            // A later one stays in its place: put into `system` it would change the prefix that the cache and the
            // thinking's signatures are about.
            Some("developer" | "system") => {
                let reminder = |mut block: Value| {
                    if let Some(said) = block["text"].as_str() {
                        block["text"] =
                            json!(format!("<system-reminder>\n{said}\n</system-reminder>"));
                    }
                    block
                };
                self.say(true, blocks(&item["content"]).into_iter().map(reminder));
            }
            _ => self.say(true, blocks(&item["content"])),
        }
    }

    fn call(&mut self, item: &'a Value, name: String, input: Value) {
        let mut id = spelled(call_id(item));
        while id.is_empty() || !self.ids.insert(id.clone()) {
            id.push_str("_again");
        }
        let result = self.results.get_mut(call_id(item)).and_then(VecDeque::pop_front);
        let mut owed = json!({"type": "tool_result", "tool_use_id": id});
        match result.map(|result| blocks(&result["output"])) {
            Some(content) if content.is_empty() => {}
            Some(content) => owed["content"] = Value::Array(content),
            None => {
                owed["content"] = json!("The call was interrupted; it has no result.");
                owed["is_error"] = json!(true);
            }
        }
        self.say(false, [json!({"type": "tool_use", "id": id, "name": name, "input": input})]);
        self.owed.push(owed);
    }

    /// Adds blocks to the turn of that side, which is a new one where the other side spoke last.
    fn say(&mut self, user: bool, blocks: impl IntoIterator<Item = Value>) {
        let mut blocks = blocks.into_iter().peekable();
        if blocks.peek().is_none() {
            return;
        }
        if user {
            self.settle();
        }
        join(&mut self.turns, user, blocks);
    }

    fn settle(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        if !owed.is_empty() {
            join(&mut self.turns, true, owed);
        }
    }

    /// The assistant is amid tool calls, and began them without thinking.
    pub(super) fn lacks_thinking(&self) -> bool {
        if self.turns.last().is_none_or(|turn| !turn.user) {
            return false;
        }
        let asked = |turn: &Turn| {
            turn.user && turn.blocks.iter().all(|block| block["type"] != "tool_result")
        };
        let start = self.turns.iter().rposition(asked).map_or(0, |index| index + 1);
        let first = self.turns.get(start).and_then(|turn| turn.blocks.first());
        first.is_some_and(|block| !is_thinking(block))
    }

    pub(super) fn turns(self, thinks: bool) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        for mut turn in self.turns {
            if !turn.user {
                turn.blocks.retain(|block| thinks || !is_thinking(block));
                // The API refuses a message that ends with thinking; such a one was cut off.
                while turn.blocks.pop_if(|block| is_thinking(block)).is_some() {}
            }
            if !turn.user && turns.is_empty() && !turn.blocks.is_empty() {
                join(&mut turns, true, note("the conversation begins with the assistant"));
            }
            join(&mut turns, turn.user, turn.blocks);
        }
        if turns.last().is_none_or(|turn| !turn.user) {
            join(&mut turns, true, text(GO_ON));
        }
        turns
    }
}

fn join(turns: &mut Vec<Turn>, user: bool, blocks: impl IntoIterator<Item = Value>) {
    let mut blocks = blocks.into_iter().peekable();
    match turns.last_mut() {
        Some(turn) if turn.user == user => turn.blocks.extend(blocks),
        _ if blocks.peek().is_some() => turns.push(Turn { user, blocks: blocks.collect() }),
        _ => {}
    }
}

fn kind(item: &Value) -> &str {
    item["type"].as_str().unwrap_or(if item["role"].is_string() { "message" } else { "" })
}

fn is_call(item: &Value) -> bool {
    matches!(kind(item), "function_call" | "custom_tool_call" | "local_shell_call")
}

fn is_output(item: &Value) -> bool {
    matches!(
        kind(item),
        "function_call_output" | "custom_tool_call_output" | "local_shell_call_output"
    )
}

fn call_id(item: &Value) -> &str {
    item["call_id"].as_str().or_else(|| item["id"].as_str()).unwrap_or_default()
}

fn is_thinking(block: &Value) -> bool {
    matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
}

/// A call's arguments as the object that the API wants; what the model garbled is shown to it as it was.
fn arguments(said: &Value) -> Value {
    let said = said.as_str().unwrap_or_default();
    match serde_json::from_str::<Value>(said) {
        Ok(object @ Value::Object(_)) => object,
        _ if said.trim().is_empty() => json!({}),
        _ => json!({"arguments": said}),
    }
}

fn note(about: &str) -> Option<Value> {
    text(&format!("[{about}]"))
}

fn blocks(content: &Value) -> Vec<Value> {
    match content {
        Value::String(said) => text(said).into_iter().collect(),
        content => list(content).iter().filter_map(block).collect(),
    }
}

fn block(part: &Value) -> Option<Value> {
    match part["type"].as_str().unwrap_or_default() {
        "input_text" | "output_text" | "text" => text(part["text"].as_str().unwrap_or_default()),
        "refusal" => text(part["refusal"].as_str().unwrap_or_default()),
        "input_image" => image(part["image_url"].as_str().unwrap_or_default()),
        other => note(&format!("content of type {other} was left out: Anthropic cannot read it")),
    }
}

fn image(url: &str) -> Option<Value> {
    let source = if let Some((head, data)) =
        url.strip_prefix("data:").and_then(|rest| rest.split_once(','))
    {
        let media = match head.split(';').next().unwrap_or_default().to_lowercase().as_str() {
            "image/jpeg" | "image/jpg" if head.ends_with(";base64") => "image/jpeg",
            "image/png" if head.ends_with(";base64") => "image/png",
            "image/gif" if head.ends_with(";base64") => "image/gif",
            "image/webp" if head.ends_with(";base64") => "image/webp",
            _ => {
                return note(&format!(
                    "an image ({head}) was left out: Anthropic reads JPEG, PNG, GIF and WebP in base64"
                ));
            }
        };
        json!({"type": "base64", "media_type": media, "data": data})
    } else if url.starts_with("https://") || url.starts_with("http://") {
        json!({"type": "url", "url": url})
    } else {
        return note("an image was left out: its address is neither a data: nor an https: one");
    };
    Some(json!({"type": "image", "source": source}))
}

/// The API wants the tools of a history with calls defined, even where none is offered any more (core's compaction does that).
pub(super) fn called(turns: &[Turn]) -> Vec<Value> {
    let names: BTreeSet<&str> = turns
        .iter()
        .flat_map(|turn| &turn.blocks)
        .filter(|block| block["type"] == "tool_use")
        .filter_map(|block| block["name"].as_str())
        .collect();
    names
        .into_iter()
        .map(|name| {
            spec(name, "A tool of earlier turns, not available now.", json!({"type": "object"}))
        })
        .collect()
}
