//! Core's items as turns of alternating sides. Every call is answered at the start of the next
//! turn.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;

use serde_json::Value;
use serde_json::json;

use super::api::MARK;
use super::api::invalid;
use super::api::text;
use super::tools::Tools;
use super::tools::spec;
use crate::WireError;
use crate::json::list;
use crate::names;

/// Ends a history that does not end with the user: newer models reject one.
const CONTINUE: &str = "Continue.";

/// The blocks of one side, up to the next turn of the other.
pub(super) struct Turn {
    pub(super) user: bool,
    pub(super) blocks: Vec<Value>,
}

impl Turn {
    pub(super) fn message(self) -> Value {
        json!({"role": if self.user { "user" } else { "assistant" }, "content": self.blocks})
    }
}

/// The history under translation into turns.
pub(super) struct History<'a> {
    model: &'a str,
    tools: &'a Tools,
    /// Outputs by call id, until their call takes them.
    results: HashMap<&'a str, VecDeque<&'a Value>>,
    /// Results of the last turn's calls, which open the user's next turn.
    pending: Vec<Value>,
    ids: HashSet<String>,
    /// Blocks of the system prompt: instructions and the leading developer messages.
    pub(super) system: Vec<Value>,
    turns: Vec<Turn>,
}

impl<'a> History<'a> {
    pub(super) fn of(
        request: &'a Value,
        model: &'a str,
        tools: &'a Tools,
    ) -> Result<Self, WireError> {
        let system = request["instructions"].as_str().and_then(text).into_iter().collect();
        let (results, ids, turns) = (HashMap::new(), HashSet::new(), Vec::new());
        let mut history = Self { model, tools, results, pending: Vec::new(), ids, system, turns };
        if let Some(input) = request["input"].as_str() {
            history.add(true, text(input));
        }
        let items = list(&request["input"]);
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

    fn item(&mut self, item: &'a Value, calls: &HashSet<&str>) -> Result<(), WireError> {
        match kind(item) {
            "message" => self.message(item),
            "reasoning" => {
                let carried = item["encrypted_content"]
                    .as_str()
                    .and_then(|text| serde_json::from_str::<Value>(text).ok());
                if let Some(carried) = carried
                    .filter(|carried| carried["wire"] == MARK && carried["model"] == self.model)
                {
                    self.add(
                        false,
                        list(&carried["blocks"]).iter().filter(|block| is_thinking(block)).cloned(),
                    );
                }
            }
            "function_call" => {
                let name = self.tools.wire_name(item);
                let input = self.tools.sent_arguments(&name, arguments(&item["arguments"]));
                self.call(item, name, input);
            }
            "custom_tool_call" => {
                self.call(item, self.tools.wire_name(item), json!({"input": item["input"]}))
            }
            "local_shell_call" => {
                self.call(item, "local_shell".to_owned(), json!({"action": item["action"]}))
            }
            // Already taken by its call: an output only ends the assistant's turn.
            _ if is_output(item) && calls.contains(call_id(item)) => self.settle(),
            _ if is_output(item) => {
                self.add(
                    true,
                    note("the result of a tool call that is no longer in the conversation follows"),
                );
                self.add(true, blocks(&item["output"]));
            }
            "agent_message" => {
                let name = |key: &str| item[key].as_str().unwrap_or("an agent").to_owned();
                self.add(
                    true,
                    text(&format!("Message from {} to {}:", name("author"), name("recipient"))),
                );
                self.add(true, blocks(&item["content"]));
            }
            "compaction" | "compaction_summary" | "context_compaction" => {
                let about = "earlier messages were compacted by another provider and cannot be \
                             read here";
                self.add(true, note(about));
            }
            "compaction_trigger" => {
                return Err(invalid("compaction_trigger: this API has no server-side compaction"));
            }
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, item: &Value) {
        match item["role"].as_str() {
            Some("assistant") => self.add(
                false,
                blocks(&item["content"]).into_iter().filter(|block| block["type"] == "text"),
            ),
            Some("developer" | "system") if self.turns.is_empty() => {
                let blocks = blocks(&item["content"]).into_iter();
                self.system.extend(blocks.filter(|block| block["type"] == "text"));
            }
            // A later one stays in place: inside `system` it would change the prefix on which the
            // cache and the signatures of thinking depend.
            Some("developer" | "system") => {
                let reminder = |mut block: Value| {
                    if let Some(text) = block["text"].as_str() {
                        block["text"] =
                            json!(format!("<system-reminder>\n{text}\n</system-reminder>"));
                    }
                    block
                };
                self.add(true, blocks(&item["content"]).into_iter().map(reminder));
            }
            _ => self.add(true, blocks(&item["content"])),
        }
    }

    fn call(&mut self, item: &'a Value, name: String, input: Value) {
        let mut id = names::sanitized(call_id(item));
        while id.is_empty() || !self.ids.insert(id.clone()) {
            id.push_str("_again");
        }
        let result = self.results.get_mut(call_id(item)).and_then(VecDeque::pop_front);
        let mut answer = json!({"type": "tool_result", "tool_use_id": id});
        match result.map(|result| blocks(&result["output"])) {
            Some(content) if content.is_empty() => {}
            Some(content) => answer["content"] = Value::Array(content),
            None => {
                answer["content"] = json!("The call was interrupted; it has no result.");
                answer["is_error"] = json!(true);
            }
        }
        self.add(false, [json!({"type": "tool_use", "id": id, "name": name, "input": input})]);
        self.pending.push(answer);
    }

    /// Appends blocks to the turn of a side, or begins one after a turn of the other side.
    fn add(&mut self, user: bool, blocks: impl IntoIterator<Item = Value>) {
        let mut blocks = blocks.into_iter().peekable();
        if blocks.peek().is_none() {
            return;
        }
        if user {
            self.settle();
        }
        join(&mut self.turns, user, blocks);
    }

    /// Ends the assistant's turn: the results of its calls follow.
    fn settle(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            join(&mut self.turns, true, pending);
        }
    }

    /// Whether the history ends amid tool calls that began without thinking.
    pub(super) fn lacks_thinking(&self) -> bool {
        if self.turns.last().is_none_or(|turn| !turn.user) {
            return false;
        }
        let is_prompt = |turn: &Turn| {
            turn.user && turn.blocks.iter().all(|block| block["type"] != "tool_result")
        };
        let start = self.turns.iter().rposition(is_prompt).map_or(0, |index| index + 1);
        let first = self.turns.get(start).and_then(|turn| turn.blocks.first());
        first.is_some_and(|block| !is_thinking(block))
    }

    /// Returns the turns, alternating and ending with the user. Thinking stays only if the model
    /// thinks.
    pub(super) fn turns(self, thinks: bool) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        for mut turn in self.turns {
            if !turn.user {
                turn.blocks.retain(|block| thinks || !is_thinking(block));
                // The API rejects a message that ends with thinking, as one that was cut off does.
                while turn.blocks.pop_if(|block| is_thinking(block)).is_some() {}
            }
            if !turn.user && turns.is_empty() && !turn.blocks.is_empty() {
                join(&mut turns, true, note("the conversation begins with the assistant"));
            }
            join(&mut turns, turn.user, turn.blocks);
        }
        if turns.last().is_none_or(|turn| !turn.user) {
            join(&mut turns, true, text(CONTINUE));
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

/// The arguments of a call as the object that the API requires. Malformed ones are passed on as
/// text.
fn arguments(arguments: &Value) -> Value {
    let arguments = arguments.as_str().unwrap_or_default();
    match serde_json::from_str::<Value>(arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    }
}

fn note(about: &str) -> Option<Value> {
    text(&format!("[{about}]"))
}

fn blocks(content: &Value) -> Vec<Value> {
    match content {
        Value::String(content) => text(content).into_iter().collect(),
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

/// Defines the tools that the history calls. The API requires it even if no tool is offered any
/// longer, as in core's compaction.
pub(super) fn tools_of_calls(turns: &[Turn]) -> Vec<Value> {
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
