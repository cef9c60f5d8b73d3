//! Tools as function declarations, and the tool of a function's name.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::json;

use super::schema;
use crate::json::kind;
use crate::json::list;
use crate::json::string;

/// The longest function name that Gemini accepts.
const NAME_CHARS: usize = 128;

/// A tool as core and Gemini know it.
#[derive(Debug)]
pub(super) struct Tool {
    wire_name: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) custom: bool,
    declaration: Value,
}

/// The tools of a request.
#[derive(Debug, Default)]
pub(super) struct Tools {
    tools: Vec<Tool>,
    /// The places of the tools, by Gemini's names.
    by_wire_name: HashMap<String, usize>,
    /// The same by namespace and name, in core's form.
    by_name: HashMap<(String, String), usize>,
    /// The descriptions of the namespaces, for the system instruction.
    pub(super) notes: Vec<String>,
}

impl Tools {
    pub(super) fn of(request: &Value) -> Self {
        let mut tools = Self::default();
        let late = list(&request["input"])
            .iter()
            .filter(|item| matches!(kind(item), "additional_tools" | "tool_search_output"))
            .flat_map(|item| list(&item["tools"]));
        for tool in list(&request["tools"]).iter().chain(late) {
            if kind(tool) != "namespace" {
                tools.add(None, tool);
                continue;
            }
            let Some(namespace) = tool["name"].as_str() else { continue };
            let description = string(tool, "description");
            if !description.is_empty() {
                let prefix = wire_name(Some(namespace), "");
                tools.notes.push(format!("Tools named {prefix}*: {description}"));
            }
            list(&tool["tools"]).iter().for_each(|inner| tools.add(Some(namespace), inner));
        }
        tools
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    pub(super) fn declarations(&self) -> impl Iterator<Item = &Value> {
        self.tools.iter().map(|tool| &tool.declaration)
    }

    fn add(&mut self, namespace: Option<&str>, tool: &Value) {
        let custom = tool["type"] == "custom";
        let Some(name) = tool["name"].as_str() else { return };
        // Hosted tools are dropped, and so are repeated ones: Gemini rejects a second declaration.
        if !(custom || tool["type"] == "function") || self.find(namespace, name).is_some() {
            return;
        }
        let mut wire_name = wire_name(namespace, name);
        if self.named(&wire_name).is_some() {
            wire_name = hashed(&wire_name, &format!("{namespace:?} {name}"));
        }
        let mut description = tool["description"].as_str().unwrap_or(name).to_owned();
        let parameters = if custom {
            let format = &tool["format"];
            if let Some(definition) = format["definition"].as_str() {
                let syntax = format["syntax"].as_str().unwrap_or_default();
                description.push_str(&format!(
                    "\n\n`input` must match this {syntax} grammar:\n{definition}"
                ));
            }
            let input = json!({
                "type": "string",
                "description": "The whole input of the tool, as plain text",
            });
            json!({ "type": "object", "properties": { "input": input }, "required": ["input"] })
        } else {
            schema::of_parameters(&tool["parameters"])
        };
        let declaration = json!({
            "name": wire_name,
            "description": description,
            "parametersJsonSchema": parameters,
        });
        let place = self.tools.len();
        self.by_wire_name.insert(wire_name.clone(), place);
        self.by_name.insert(key(namespace, name), place);
        let namespace = namespace.map(str::to_owned);
        self.tools.push(Tool { wire_name, namespace, name: name.to_owned(), custom, declaration });
    }

    fn find(&self, namespace: Option<&str>, name: &str) -> Option<&Tool> {
        self.tools.get(*self.by_name.get(&key(namespace, name))?)
    }

    /// Finds a tool by Gemini's name for it.
    pub(super) fn named(&self, wire_name: &str) -> Option<&Tool> {
        self.tools.get(*self.by_wire_name.get(wire_name)?)
    }

    /// Returns Gemini's name of the tool of a call or choice, even if the tool is no longer
    /// offered.
    pub(super) fn wire_name(&self, item: &Value) -> Option<String> {
        let (namespace, name) = (item["namespace"].as_str(), item["name"].as_str()?);
        let known = self.find(namespace, name);
        Some(known.map_or_else(|| wire_name(namespace, name), |tool| tool.wire_name.clone()))
    }

    /// Returns `functionCallingConfig` for `tool_choice`. `auto` is Gemini's default.
    pub(super) fn choice(&self, choice: &Value) -> Option<Value> {
        if let Some(word) = choice.as_str() {
            return match word {
                "none" => Some(json!({"mode": "NONE"})),
                "required" => Some(json!({"mode": "ANY"})),
                _ => None,
            };
        }
        let several = kind(choice) == "allowed_tools";
        let mode = if several && choice["mode"] != "required" { "VALIDATED" } else { "ANY" };
        let names: Vec<String> = if several {
            list(&choice["tools"]).iter().filter_map(|tool| self.wire_name(tool)).collect()
        } else {
            self.wire_name(choice).into_iter().collect()
        };
        (!names.is_empty()).then(|| json!({"mode": mode, "allowedFunctionNames": names}))
    }
}

/// The key of a tool. No namespace is empty, so an empty one stands for none.
fn key(namespace: Option<&str>, name: &str) -> (String, String) {
    (namespace.unwrap_or_default().to_owned(), name.to_owned())
}

/// Joins a tool and its namespace into one name that Gemini accepts.
fn wire_name(namespace: Option<&str>, name: &str) -> String {
    let whole = match namespace {
        Some(space) => format!("{}__{name}", space.trim_end_matches("__")),
        None => name.to_owned(),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    let begins = whole.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && whole.len() <= NAME_CHARS && whole.chars().all(allowed) {
        whole
    } else {
        hashed(&whole, &whole)
    }
}

/// Shortens a name and makes it unique with a 64-bit FNV-1a hash, the same in every process:
/// histories outlive processes.
fn hashed(name: &str, seed: &str) -> String {
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let kept: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .take(NAME_CHARS - 20)
        .collect();
    format!("_{kept}_{hash:016x}")
}
