//! The tools of a request under their names on both sides, shared by history, offer and answer.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::api::inexpressible;
use crate::WireError;
use crate::json::kind;
use crate::json::list;
use crate::json::set;
use crate::json::string;
use crate::names;

/// The kind of item that core expects for a call of the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Custom,
    Search,
}

/// A tool as core and the provider know it.
#[derive(Debug)]
pub(super) struct Tool {
    wire_name: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) kind: Kind,
    function: Value,
}

/// The tools of a request.
#[derive(Debug, Default)]
pub(super) struct Tools(Vec<Tool>);

impl Tools {
    pub(super) fn of(request: &Value) -> Self {
        let mut tools = Self::default();
        let late = list(&request["input"])
            .iter()
            .filter(|item| matches!(kind(item), "additional_tools" | "tool_search_output"))
            .flat_map(|item| list(&item["tools"]));
        for tool in list(&request["tools"]).iter().chain(late) {
            tools.add(tool, None, "");
        }
        tools
    }

    /// The tools that a search found.
    pub(super) fn found_by(search_output: &Value) -> Self {
        let mut tools = Self::default();
        list(&search_output["tools"]).iter().for_each(|tool| tools.add(tool, None, ""));
        tools
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Tool> {
        self.0.iter()
    }

    /// Adds a tool, or the tools of a namespace. `about` describes the namespace of the tool.
    fn add(&mut self, tool: &Value, namespace: Option<&str>, about: &str) {
        let described = string(tool, "description");
        let (kind, name) = match kind(tool) {
            "function" => (Kind::Function, string(tool, "name")),
            "custom" => (Kind::Custom, string(tool, "name")),
            "tool_search" if tool["execution"] == "client" => (Kind::Search, "tool_search"),
            "namespace" if namespace.is_none() => {
                // Only the first tool describes the namespace: the model reads all tools.
                let first = std::iter::once(described).chain(std::iter::repeat(""));
                for (inner, about) in list(&tool["tools"]).iter().zip(first) {
                    self.add(inner, tool["name"].as_str(), about);
                }
                return;
            }
            _hosted => return,
        };
        if name.is_empty() || self.find(namespace, name).is_some() {
            return;
        }
        let mut wire_name = wire_name(namespace, name);
        if self.named(&wire_name).is_some() {
            let identity = format!("{}\0{name}", namespace.unwrap_or_default());
            wire_name = names::hashed(&wire_name, &identity);
        }
        let mut description = described.to_owned();
        if kind == Kind::Custom {
            description.push_str(&as_function(&tool["format"]));
        }
        if !about.is_empty() {
            description = format!("{description}\n\n{}: {about}", namespace.unwrap_or_default());
        }
        let parameters = match kind {
            Kind::Custom => json!({
                "type": "object",
                "properties": { "input": { "type": "string" } },
                "required": ["input"],
                "additionalProperties": false,
            }),
            Kind::Function | Kind::Search if tool["parameters"].is_object() => {
                tool["parameters"].clone()
            }
            Kind::Function | Kind::Search => json!({ "type": "object", "properties": {} }),
        };
        let mut function =
            json!({ "name": wire_name, "description": description, "parameters": parameters });
        set(&mut function, "strict", (tool["strict"] == true).then_some(json!(true)));
        let (namespace, name) = (namespace.map(str::to_owned), name.to_owned());
        self.0.push(Tool { wire_name, namespace, name, kind, function });
    }

    fn find(&self, namespace: Option<&str>, name: &str) -> Option<&Tool> {
        self.0.iter().find(|tool| tool.namespace.as_deref() == namespace && tool.name == name)
    }

    /// Finds a tool by the provider's name for it.
    pub(super) fn named(&self, wire_name: &str) -> Option<&Tool> {
        self.0.iter().find(|tool| tool.wire_name == wire_name)
    }

    /// Returns the provider's name of a tool, even if the tool is no longer offered.
    pub(super) fn wire_name(&self, namespace: Option<&str>, name: &str) -> String {
        self.find(namespace, name)
            .map_or_else(|| wire_name(namespace, name), |tool| tool.wire_name.clone())
    }

    /// Writes `tools`, `parallel_tool_calls` and `tool_choice`.
    pub(super) fn offer(
        &self,
        request: &Value,
        body: &mut Map<String, Value>,
    ) -> Result<(), WireError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let tools =
            self.0.iter().map(|tool| json!({ "type": "function", "function": tool.function }));
        body.insert("tools".into(), tools.collect());
        // Servers differ in their default.
        if let Some(parallel) = request["parallel_tool_calls"].as_bool() {
            body.insert("parallel_tool_calls".into(), json!(parallel));
        }
        let choice = &request["tool_choice"];
        let choice = match (choice, kind(choice)) {
            (Value::Null, _) => return Ok(()),
            (Value::String(_), _) => choice.clone(),
            (_, "function" | "custom") => {
                let name = self.wire_name(choice["namespace"].as_str(), string(choice, "name"));
                json!({ "type": "function", "function": { "name": name } })
            }
            (_, other) => {
                return Err(inexpressible(format_args!("the tool choice `{other}`")));
            }
        };
        body.insert("tool_choice".into(), choice);
        Ok(())
    }
}

/// Explains a freeform tool that became a function.
fn as_function(format: &Value) -> String {
    let mut text = String::from(
        "\n\nHere this tool is a function: give the whole freeform text as the string `input`, \
         with nothing around it.",
    );
    if let Some(definition) = format["definition"].as_str() {
        let syntax = format["syntax"].as_str().unwrap_or("formal");
        text.push_str(&format!(" It must match this {syntax} grammar:\n{definition}"));
    }
    text
}

fn wire_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if namespace.ends_with('_') => names::fitted(&format!("{namespace}{name}")),
        Some(namespace) => names::fitted(&format!("{namespace}__{name}")),
        None => names::fitted(name),
    }
}
