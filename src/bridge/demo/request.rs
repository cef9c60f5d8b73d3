//! Core's request, as far as the script needs it.

#![expect(clippy::indexing_slicing, reason = "serde_json returns null for absent members")]

use serde_json::Value;

use crate::bridge::call::ModelCall;

/// The prompts, outputs and tools of a Responses request.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The user's prompts, one per turn; the last one is to be answered.
    pub(super) prompts: Vec<String>,
    /// The outputs of tools since the last prompt, in order.
    pub(super) outputs: Vec<String>,
    /// The names of the offered tools.
    pub(super) tools: Vec<String>,
    /// The offered tools of namespaces, as namespace and name.
    pub(super) namespaced: Vec<(String, String)>,
}

impl Request {
    pub(super) fn new(call: &ModelCall) -> Self {
        let mut request = Self::default();
        let document = call.request.to_value().unwrap_or_default();
        for item in list(&document["input"]) {
            match item["type"].as_str() {
                Some("message") | None if item["role"] == "user" => {
                    let text = text(&item["content"]);
                    // Core adds context in messages of the user, in tags.
                    if !text.trim_start().starts_with(['<', '#']) {
                        request.prompts.push(text);
                        request.outputs.clear();
                    }
                }
                Some("function_call_output" | "custom_tool_call_output") => {
                    request.outputs.push(text(&item["output"]));
                }
                _ => {}
            }
        }
        let name =
            |tool: &Value| tool["name"].as_str().or(tool["type"].as_str()).map(str::to_owned);
        for tool in list(&document["tools"]) {
            match (name(tool), tool["type"].as_str()) {
                (Some(namespace), Some("namespace")) => {
                    let inner = list(&tool["tools"]);
                    let inner = inner.filter_map(|tool| Some((namespace.clone(), name(tool)?)));
                    request.namespaced.extend(inner);
                }
                (Some(name), _) => request.tools.push(name),
                (None, _) => {}
            }
        }
        request
    }

    /// The bytes of prompts and outputs, from which tokens are estimated.
    pub(super) fn size(&self) -> usize {
        self.prompts.iter().chain(&self.outputs).map(String::len).sum()
    }

    pub(super) fn prompt(&self) -> &str {
        self.prompts.last().map_or("", |prompt| prompt.trim())
    }

    pub(super) fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|offered| offered == tool)
    }
}

/// Returns the elements of an array.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns the text of content: a string, or a list of parts with a `text` each.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        other => other["content"].as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::request::ModelRequest;

    #[test]
    fn prompts_exclude_cores_context() {
        let body = serde_json::json!({
            "input": [
                { "type": "message", "role": "developer", "content": [{ "type": "input_text", "text": "x" }] },
                { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "<environment_context>" }] },
                { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "one" }] },
                { "type": "function_call_output", "call_id": "c", "output": "old" },
                { "type": "message", "role": "user", "content": "two" },
                { "type": "function_call_output", "call_id": "c", "output": "new" },
            ],
            "tools": [
                { "type": "function", "name": "shell_command" },
                { "type": "web_search" },
                { "type": "namespace", "name": "mcp__a", "tools": [{ "type": "function", "name": "b" }] },
            ],
        });
        let request = Request::new(&ModelCall::new(
            ModelRequest::parse(body.to_string().as_bytes()).unwrap(),
        ));
        assert_eq!(request.prompts, ["one", "two"]);
        assert_eq!(request.outputs, ["new"]);
        assert_eq!(request.tools, ["shell_command", "web_search"]);
        assert_eq!(request.namespaced, [("mcp__a".to_owned(), "b".to_owned())]);
    }
}
