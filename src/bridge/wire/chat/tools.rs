//! The tools of a request and their names on both sides: what the history, the offer and the answer share.

use serde_json::{Map, Value, json};

use super::super::Failure;
use super::{inexpressible, items, kind, set};

/// The longest tool name that OpenAI takes.
const NAME_LIMIT: usize = 64;

/// What a call of a tool is on core's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Custom,
    Search,
}

/// A tool as core and as the provider know it.
#[derive(Debug)]
pub(super) struct Tool {
    wire_name: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) kind: Kind,
    function: Value,
}

/// The tools of a request, and their names on both sides.
#[derive(Debug, Default)]
pub(super) struct Tools(pub(super) Vec<Tool>);

impl Tools {
    pub(super) fn of(ask: &Value) -> Self {
        let mut tools = Self::default();
        let late = items(&ask["input"])
            .filter(|item| matches!(kind(item), "additional_tools" | "tool_search_output"))
            .flat_map(|item| items(&item["tools"]));
        for tool in items(&ask["tools"]).chain(late) {
            tools.add(tool, None, "");
        }
        tools
    }

    /// `about` says what the namespace is for.
    pub(super) fn add(&mut self, tool: &Value, namespace: Option<&str>, about: &str) {
        let described = tool["description"].as_str().unwrap_or_default();
        let (kind, name) = match kind(tool) {
            "function" => (Kind::Function, tool["name"].as_str().unwrap_or_default()),
            "custom" => (Kind::Custom, tool["name"].as_str().unwrap_or_default()),
            "tool_search" if tool["execution"] == "client" => (Kind::Search, "tool_search"),
            "namespace" if namespace.is_none() => {
                // Once is enough: the model reads all tools.
                let first = std::iter::once(described).chain(std::iter::repeat(""));
                for (inner, about) in items(&tool["tools"]).zip(first) {
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
            wire_name = hashed(&wire_name, &format!("{}\0{name}", namespace.unwrap_or_default()));
        }
        let mut description = described.to_owned();
        if kind == Kind::Custom {
            description.push_str(&as_function(&tool["format"]));
        }
        if !about.is_empty() {
            description = format!("{description}\n\n{}: {about}", namespace.unwrap_or_default());
        }
        let parameters = match kind {
            Kind::Custom => json!({"type": "object", "properties": {"input": {"type": "string"}},
                "required": ["input"], "additionalProperties": false}),
            Kind::Function | Kind::Search if tool["parameters"].is_object() => {
                tool["parameters"].clone()
            }
            Kind::Function | Kind::Search => json!({"type": "object", "properties": {}}),
        };
        let mut function =
            json!({"name": wire_name, "description": description, "parameters": parameters});
        if tool["strict"] == true {
            set(&mut function, "strict", json!(true));
        }
        self.0.push(Tool {
            wire_name,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            kind,
            function,
        });
    }

    fn find(&self, namespace: Option<&str>, name: &str) -> Option<&Tool> {
        self.0.iter().find(|tool| tool.namespace.as_deref() == namespace && tool.name == name)
    }

    pub(super) fn named(&self, wire_name: &str) -> Option<&Tool> {
        self.0.iter().find(|tool| tool.wire_name == wire_name)
    }

    /// The provider's name of a tool, also of one that is offered no longer.
    pub(super) fn wire_name(&self, namespace: Option<&str>, name: &str) -> String {
        self.find(namespace, name)
            .map_or_else(|| wire_name(namespace, name), |tool| tool.wire_name.clone())
    }

    pub(super) fn offer_in(
        &self,
        ask: &Value,
        body: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let tools =
            self.0.iter().map(|tool| json!({"type": "function", "function": tool.function}));
        body.insert("tools".into(), tools.collect());
        // Servers differ in their default.
        if let Some(parallel) = ask["parallel_tool_calls"].as_bool() {
            body.insert("parallel_tool_calls".into(), json!(parallel));
        }
        let choice = &ask["tool_choice"];
        let choice = match (choice, kind(choice)) {
            (Value::Null, _) => return Ok(()),
            (Value::String(_), _) => choice.clone(),
            (_, "function" | "custom") => {
                let name = self.wire_name(
                    choice["namespace"].as_str(),
                    choice["name"].as_str().unwrap_or_default(),
                );
                json!({"type": "function", "function": {"name": name}})
            }
            (_, other) => return Err(inexpressible(&format!("the tool choice `{other}`"))),
        };
        body.insert("tool_choice".into(), choice);
        Ok(())
    }
}

/// How to use a freeform tool that had to become a function.
fn as_function(format: &Value) -> String {
    let mut text = String::from(
        "\n\nHere this tool is a function: give the whole freeform text as the string `input`, with nothing around it.",
    );
    if let Some(definition) = format["definition"].as_str() {
        let syntax = format["syntax"].as_str().unwrap_or("formal");
        text.push_str(&format!(" It must match this {syntax} grammar:\n{definition}"));
    }
    text
}

fn wire_name(namespace: Option<&str>, name: &str) -> String {
    let full = match namespace {
        Some(namespace) if namespace.ends_with('_') => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
        None => name.to_owned(),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let clean: String = full.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if clean == full && clean.len() <= NAME_LIMIT { full } else { hashed(&clean, &full) }
}

/// A name that differs wherever `identity` does, the same in every process (FNV-1a): histories outlive processes.
fn hashed(name: &str, identity: &str) -> String {
    let hash = identity
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let kept: String = name.chars().take(NAME_LIMIT - 9).collect();
    format!("{kept}_{hash:08x}")
}
