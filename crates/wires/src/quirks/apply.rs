//! Changes an encoded request to what a server accepts.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::CallIds;
use super::Quirks;
use super::ids::Names;
use crate::json::kind;
use crate::json::list;
use crate::json::set;
use crate::json::string;

/// The names of the limit of output tokens, by API.
pub(super) const LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// What the assistant says between a tool and the user, where a server demands that it speaks.
const BETWEEN: &str = "Noted.";

impl Quirks {
    /// Changes a request.
    pub fn apply(&self, body: &mut Value) {
        self.limit(body);
        for name in &self.omit {
            omit(body, name);
        }
        if !self.omit_tools.is_empty() {
            self.leave_out_tools(body);
        }
        if let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) {
            if self.system_as_user {
                fold_system(messages);
            }
            if self.empty_content {
                messages.iter_mut().filter(|message| is_empty(message)).for_each(|message| {
                    set(message, "content", json!(""));
                });
            }
            if self.assistant_after_tool {
                separate(messages);
            }
        }
        if self.call_ids != CallIds::Any {
            rename_calls(self.call_ids, body);
        }
    }

    /// Sets or lowers the limit of output tokens.
    fn limit(&self, body: &mut Value) {
        let Some(members) = body.as_object_mut() else { return };
        if let Some(most) = self.max_tokens {
            let (place, name) = match () {
                () if members.contains_key("contents") => {
                    let config = members.entry("generationConfig").or_insert_with(|| json!({}));
                    (config.as_object_mut(), "maxOutputTokens")
                }
                () if members.contains_key("messages") => (Some(&mut *members), "max_tokens"),
                () => (Some(&mut *members), "max_output_tokens"),
            };
            if let Some(place) = place {
                let asked = place.get(name).and_then(Value::as_u64).unwrap_or(u64::MAX);
                place.insert(name.to_owned(), json!(asked.min(most)));
            }
            fit_thinking(members, most);
        }
        if self.max_completion_tokens
            && let Some(limit) = members.remove("max_tokens")
        {
            members.insert("max_completion_tokens".to_owned(), limit);
        }
    }

    fn leave_out_tools(&self, body: &mut Value) {
        let keep = |tool: &Value| !self.omit_tools.contains(tool_name(tool));
        let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) else { return };
        tools.retain(|tool| keep(tool));
        for tool in tools.iter_mut() {
            if let Some(inner) = tool.get_mut("functionDeclarations").and_then(Value::as_array_mut)
            {
                inner.retain(|tool| keep(tool));
            }
        }
        if tools.is_empty()
            && let Some(members) = body.as_object_mut()
        {
            for name in ["tools", "tool_choice", "parallel_tool_calls"] {
                members.remove(name);
            }
        }
    }
}

/// Keeps Anthropic's thinking budget below the limit.
fn fit_thinking(members: &mut Map<String, Value>, most: u64) {
    let budget = members.get("thinking").and_then(|thinking| thinking["budget_tokens"].as_u64());
    match budget {
        Some(budget) if budget < most => {}
        Some(_) if most > 2048 => {
            if let Some(thinking) = members.get_mut("thinking").and_then(Value::as_object_mut) {
                thinking.insert("budget_tokens".to_owned(), json!(most / 2));
            }
        }
        Some(_) => drop(members.remove("thinking")),
        None => {}
    }
}

/// Returns the name of a tool on any wire.
pub(super) fn tool_name(tool: &Value) -> &str {
    let name = string(tool, "name");
    if name.is_empty() { string(&tool["function"], "name") } else { name }
}

/// Removes a member: of the request, or where the API has it in its messages, tools and options.
fn omit(body: &mut Value, name: &str) {
    let Some(members) = body.as_object_mut() else { return };
    // Without these there is no request.
    if name != "messages" && name != "input" && name != "contents" && name != "model" {
        members.remove(name);
    }
    let of_messages = ["reasoning", "reasoning_content", "reasoning_details", "cache_control"];
    if of_messages.contains(&name) {
        for message in all(members, "messages") {
            remove(message, name);
            message.get_mut("content").into_iter().flat_map(elements).for_each(|part| {
                remove(part, name);
            });
        }
        all(members, "system").for_each(|block| remove(block, name));
    }
    if matches!(name, "strict" | "cache_control") {
        for tool in all(members, "tools") {
            remove(tool, name);
            tool.get_mut("function").into_iter().for_each(|function| remove(function, name));
        }
    }
    for (place, inner) in [
        ("tool_choice", "disable_parallel_tool_use"),
        ("generationConfig", "thinkingConfig"),
        ("thinking", "block_binding"),
        ("thinking", "display"),
        ("output_config", "effort"),
        ("reasoning", "effort"),
        ("text", "verbosity"),
    ] {
        if name == inner {
            members.get_mut(place).into_iter().for_each(|place| remove(place, name));
        }
    }
}

fn all<'a>(members: &'a mut Map<String, Value>, list: &str) -> impl Iterator<Item = &'a mut Value> {
    members.get_mut(list).into_iter().flat_map(elements)
}

fn elements(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

fn remove(object: &mut Value, name: &str) {
    if let Some(members) = object.as_object_mut() {
        members.remove(name);
    }
}

/// Puts the system's message in front of the user's first one.
fn fold_system(messages: &mut Vec<Value>) {
    let is_system = |message: &Value| string(message, "role") == "system";
    if !messages.first().is_some_and(is_system) {
        return;
    }
    let system = messages.remove(0);
    let text = string(&system, "content");
    match messages.first_mut() {
        Some(user) if string(user, "role") == "user" => match user.get_mut("content") {
            Some(Value::String(own)) => *own = format!("{text}\n\n{own}"),
            Some(Value::Array(parts)) => parts.insert(0, json!({ "type": "text", "text": text })),
            _ => set(user, "content", json!(text)),
        },
        _ => messages.insert(0, json!({ "role": "user", "content": text })),
    }
}

/// Whether a message has a content of null.
pub(super) fn is_empty(message: &Value) -> bool {
    message.get("content").is_some_and(Value::is_null)
}

/// Puts an assistant's message between each tool's message and the user's behind it.
fn separate(messages: &mut Vec<Value>) {
    let mut at = 1;
    while at < messages.len() {
        let role = |at: usize| messages.get(at).map_or("", |message| string(message, "role"));
        if role(at - 1) == "tool" && matches!(role(at), "user" | "system" | "developer") {
            messages.insert(at, json!({ "role": "assistant", "content": BETWEEN }));
        }
        at += 1;
    }
}

/// Renames the ids of all calls and of their results.
fn rename_calls(shape: CallIds, body: &mut Value) {
    let mut ids = Vec::new();
    each_id(body, |id, _| {
        ids.push(id.to_owned());
        None
    });
    let mut names = Names::new(shape, &ids);
    each_id(body, |id, function| {
        Some(match function {
            Some(function) => names.of_call(id, function),
            None => names.of_result(id),
        })
    });
}

/// Visits the ids of calls, with the name of their function, and of results. The visitor returns
/// the new id.
fn each_id(body: &mut Value, mut visit: impl FnMut(&str, Option<&str>) -> Option<String>) {
    let mut put = |object: &mut Value, member: &str, function: Option<&str>| {
        let new = object.get(member).and_then(Value::as_str).and_then(|id| visit(id, function));
        if let Some(new) = new {
            object[member] = new.into();
        }
    };
    for message in body.get_mut("messages").into_iter().flat_map(elements) {
        for call in message.get_mut("tool_calls").into_iter().flat_map(elements) {
            let function = string(&call["function"], "name").to_owned();
            put(call, "id", Some(&function));
        }
        put(message, "tool_call_id", None);
    }
    // The Responses API.
    for item in body.get_mut("input").into_iter().flat_map(elements) {
        let function = string(item, "name").to_owned();
        let is_call = kind(item).ends_with("_call");
        put(item, "call_id", is_call.then_some(function.as_str()));
    }
}

/// Whether a user's message follows a tool's somewhere.
pub(super) fn has_user_after_tool(body: &Value) -> bool {
    let roles: Vec<&str> =
        list(&body["messages"]).iter().map(|message| string(message, "role")).collect();
    roles.windows(2).any(|pair| matches!(pair, ["tool", "user" | "system" | "developer"]))
}

/// Whether the request holds an id of a call.
pub(super) fn has_calls(body: &Value) -> bool {
    let calls = |message: &Value| !list(&message["tool_calls"]).is_empty();
    list(&body["messages"]).iter().any(calls)
        || list(&body["input"]).iter().any(|item| item["call_id"].is_string())
}
