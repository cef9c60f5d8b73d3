//! Tools. Freeform tools become functions of one string; namespaces, which Anthropic lacks, become
//! prefixes.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use super::api::cache;
use super::api::invalid;
use super::properties;
use crate::WireError;
use crate::json::kind;
use crate::json::list;
use crate::json::string;
use crate::names;

/// The tools of a request, under their names on both sides.
#[derive(Debug, Default)]
pub(super) struct Tools(Vec<Tool>);

#[derive(Debug)]
struct Tool {
    wire_name: String,
    name: String,
    namespace: Option<String>,
    custom: bool,
    spec: Value,
    /// Names of properties that the API rejects, by the names that are sent.
    properties: BTreeMap<String, String>,
}

impl Tools {
    pub(super) fn of(request: &Value) -> Self {
        let mut tools = Self::default();
        let late = list(&request["input"])
            .iter()
            .filter(|item| item["type"] == "additional_tools")
            .flat_map(|item| list(&item["tools"]));
        for tool in list(&request["tools"]).iter().chain(late) {
            tools.add(tool, None, "");
        }
        tools
    }

    /// Adds a tool, or the tools of a namespace. `preface` describes the namespace of the tool.
    fn add(&mut self, tool: &Value, namespace: Option<&str>, preface: &str) {
        let name = string(tool, "name");
        let custom = match kind(tool) {
            "function" => false,
            "custom" => true,
            "namespace" => {
                let about = format!("{name}: {}\n\n", string(tool, "description"));
                for (index, inner) in list(&tool["tools"]).iter().enumerate() {
                    self.add(inner, Some(name), if index == 0 { &about } else { "" });
                }
                return;
            }
            _ => return,
        };
        if name.is_empty() || self.find(namespace, name).is_some() {
            return;
        }
        let mut wire_name = wire_name(namespace, name);
        if self.0.iter().any(|tool| tool.wire_name == wire_name) {
            wire_name = names::hashed(&wire_name, &format!("{namespace:?} {name}"));
        }
        let description = format!("{preface}{}", string(tool, "description"));
        let mut properties = BTreeMap::new();
        let spec = if custom {
            custom_spec(&wire_name, description, &tool["format"])
        } else {
            let parameters = properties::renamed(&tool["parameters"], &mut properties);
            function_spec(&wire_name, description, &parameters)
        };
        let (name, namespace) = (name.to_owned(), namespace.map(str::to_owned));
        self.0.push(Tool { wire_name, name, namespace, custom, spec, properties });
    }

    fn find(&self, namespace: Option<&str>, name: &str) -> Option<&Tool> {
        self.0.iter().find(|tool| tool.name == name && tool.namespace.as_deref() == namespace)
    }

    /// Returns Anthropic's name of the tool of a call, even if the tool is no longer offered.
    pub(super) fn wire_name(&self, call: &Value) -> String {
        let (namespace, name) = (call["namespace"].as_str(), string(call, "name"));
        self.find(namespace, name)
            .map_or_else(|| wire_name(namespace, name), |tool| tool.wire_name.clone())
    }

    /// Whether a tool is offered under this name of Anthropic's.
    pub(super) fn offers(&self, wire_name: &str) -> bool {
        self.0.iter().any(|tool| tool.wire_name == wire_name)
    }

    /// Returns the arguments of a call with the names of properties that the tool knows.
    pub(super) fn original_arguments(&self, wire_name: &str, json: String) -> String {
        let tool = self.0.iter().find(|tool| tool.wire_name == wire_name);
        let Some(renamed) = tool.map(|tool| &tool.properties).filter(|names| !names.is_empty())
        else {
            return json;
        };
        let arguments = serde_json::from_str::<Value>(&json);
        let original = |arguments| {
            let name = |name: &str| renamed.get(name).cloned().unwrap_or_else(|| name.to_owned());
            properties::with_names(&arguments, &name).to_string()
        };
        arguments.map_or(json, original)
    }

    /// Returns the arguments of an earlier call with the names of properties that were sent.
    pub(super) fn sent_arguments(&self, wire_name: &str, arguments: Value) -> Value {
        let tool = self.0.iter().find(|tool| tool.wire_name == wire_name);
        if tool.is_none_or(|tool| tool.properties.is_empty()) {
            return arguments;
        }
        properties::with_names(&arguments, &properties::accepted)
    }

    /// Returns the name, the namespace and whether it is freeform, of a tool by Anthropic's name
    /// for it.
    pub(super) fn named<'a>(&'a self, wire_name: &'a str) -> (&'a str, Option<&'a str>, bool) {
        let known = self.0.iter().find(|tool| tool.wire_name == wire_name);
        known.map_or((wire_name, None, false), |tool| {
            (&tool.name, tool.namespace.as_deref(), tool.custom)
        })
    }

    /// Returns `tools`, with the mark that caches them.
    pub(super) fn specs(&self) -> Vec<Value> {
        let mut specs: Vec<Value> = self.0.iter().map(|tool| tool.spec.clone()).collect();
        cache(specs.last_mut());
        specs
    }

    /// Translates `tool_choice` and `parallel_tool_calls`.
    pub(super) fn choice(&self, request: &Value) -> Result<Value, WireError> {
        let choice = &request["tool_choice"];
        let mut translated = match (choice.as_str(), choice["name"].as_str()) {
            (Some("none"), _) => return Ok(json!({"type": "none"})),
            (Some("auto"), _) => json!({"type": "auto"}),
            (None, None) if choice.is_null() => json!({"type": "auto"}),
            (Some("required"), _) => json!({"type": "any"}),
            (None, Some(name)) => match self.0.iter().find(|tool| tool.name == name) {
                Some(tool) => json!({"type": "tool", "name": tool.wire_name}),
                None => {
                    let problem = format!("tool_choice: expected an offered tool, got {name}");
                    return Err(invalid(problem));
                }
            },
            _ => return Err(invalid(format_args!("tool_choice: this API has no {choice}"))),
        };
        if request["parallel_tool_calls"] == false {
            translated["disable_parallel_tool_use"] = json!(true);
        }
        Ok(translated)
    }
}

fn wire_name(namespace: Option<&str>, name: &str) -> String {
    let whole = namespace.map_or_else(|| name.to_owned(), |space| format!("{space}__{name}"));
    if whole.is_empty() { names::hashed("", "") } else { names::fitted(&whole) }
}

fn function_spec(wire_name: &str, mut description: String, parameters: &Value) -> Value {
    let mut schema = parameters.as_object().cloned().unwrap_or_default();
    schema.insert("type".to_owned(), json!("object"));
    // The API rejects these at the top of a tool's schema.
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(rule) = schema.remove(key) {
            description.push_str(&format!("\n\nThe arguments also obey {key}: {rule}"));
        }
    }
    spec(wire_name, &description, Value::Object(schema))
}

fn custom_spec(wire_name: &str, mut description: String, format: &Value) -> Value {
    if let Some(definition) = format["definition"].as_str() {
        let syntax = format["syntax"].as_str().unwrap_or_default();
        description.push_str(&format!(
            "\n\nThe input is text, not JSON, in this {syntax} grammar:\n{definition}"
        ));
    }
    let input = json!({
        "type": "string",
        "description": "The whole input of the tool, as plain text.",
    });
    let schema = json!({
        "type": "object",
        "properties": { "input": input },
        "required": ["input"],
        "additionalProperties": false,
    });
    spec(wire_name, &description, schema)
}

pub(super) fn spec(wire_name: &str, description: &str, schema: Value) -> Value {
    if description.trim().is_empty() {
        return json!({"name": wire_name, "input_schema": schema});
    }
    json!({"name": wire_name, "description": description, "input_schema": schema})
}
