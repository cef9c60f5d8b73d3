//! Tools: functions, core's freeform tools as functions of one string, and namespaces, which Anthropic lacks, as prefixes.

use super::{Failure, cache, invalid, list};
use serde_json::{Value, json};

/// Older models take no longer names.
const LONGEST_NAME: usize = 64;

/// The tools of a request, under their names here and at Anthropic.
#[derive(Default)]
pub(super) struct Tools(Vec<Tool>);

struct Tool {
    wire: String,
    name: String,
    namespace: Option<String>,
    custom: bool,
    spec: Value,
}

impl Tools {
    pub(super) fn offered(ask: &Value) -> Self {
        let mut tools = Self::default();
        let added = list(&ask["input"]).iter().filter(|item| item["type"] == "additional_tools");
        for spec in list(&ask["tools"]).iter().chain(added.flat_map(|item| list(&item["tools"]))) {
            tools.add(spec, None, "");
        }
        tools
    }

    fn add(&mut self, spec: &Value, namespace: Option<&str>, preface: &str) {
        let name = spec["name"].as_str().unwrap_or_default();
        let custom = match spec["type"].as_str() {
            Some("function") => false,
            Some("custom") => true,
            Some("namespace") => {
                let about =
                    format!("{name}: {}\n\n", spec["description"].as_str().unwrap_or_default());
                for (index, inner) in list(&spec["tools"]).iter().enumerate() {
                    self.add(inner, Some(name), if index == 0 { &about } else { "" });
                }
                return;
            }
            _ => return,
        };
        if name.is_empty() || self.find(namespace, name).is_some() {
            return;
        }
        let mut wire = wire_name(namespace, name);
        if self.0.iter().any(|tool| tool.wire == wire) {
            wire = hashed(&wire, &format!("{namespace:?} {name}"));
        }
        let about = format!("{preface}{}", spec["description"].as_str().unwrap_or_default());
        let spec = if custom {
            custom_spec(&wire, about, &spec["format"])
        } else {
            function_spec(&wire, about, &spec["parameters"])
        };
        let namespace = namespace.map(str::to_owned);
        self.0.push(Tool { wire, name: name.to_owned(), namespace, custom, spec });
    }

    fn find(&self, namespace: Option<&str>, name: &str) -> Option<&Tool> {
        self.0.iter().find(|tool| tool.name == name && tool.namespace.as_deref() == namespace)
    }

    /// Anthropic's name of a tool that a call in the history names; the tool may be gone.
    pub(super) fn wire_of(&self, call: &Value) -> String {
        let (namespace, name) =
            (call["namespace"].as_str(), call["name"].as_str().unwrap_or_default());
        self.find(namespace, name)
            .map_or_else(|| wire_name(namespace, name), |tool| tool.wire.clone())
    }

    /// The name, namespace and kind of a tool that the model calls by Anthropic's name of it.
    pub(super) fn named<'a>(&'a self, wire: &'a str) -> (&'a str, Option<&'a str>, bool) {
        let known = self.0.iter().find(|tool| tool.wire == wire);
        known.map_or((wire, None, false), |tool| {
            (&tool.name, tool.namespace.as_deref(), tool.custom)
        })
    }

    pub(super) fn specs(&self) -> Vec<Value> {
        let mut specs: Vec<Value> = self.0.iter().map(|tool| tool.spec.clone()).collect();
        cache(specs.last_mut());
        specs
    }

    pub(super) fn choice(&self, ask: &Value) -> Result<Value, Failure> {
        let wanted = &ask["tool_choice"];
        let mut choice = match (wanted.as_str(), wanted["name"].as_str()) {
            (Some("none"), _) => return Ok(json!({"type": "none"})),
            (Some("auto"), _) => json!({"type": "auto"}),
            (None, None) if wanted.is_null() => json!({"type": "auto"}),
            (Some("required"), _) => json!({"type": "any"}),
            (None, Some(name)) => match self.0.iter().find(|tool| tool.name == name) {
                Some(tool) => json!({"type": "tool", "name": tool.wire}),
                None => {
                    return Err(invalid(&format!(
                        "tool_choice names a tool that is not offered: {name}"
                    )));
                }
            },
            _ => return Err(invalid(&format!("it has no such tool_choice: {wanted}"))),
        };
        if ask["parallel_tool_calls"] == false {
            choice["disable_parallel_tool_use"] = json!(true);
        }
        Ok(choice)
    }
}

fn wire_name(namespace: Option<&str>, name: &str) -> String {
    let whole = namespace.map_or_else(|| name.to_owned(), |space| format!("{space}__{name}"));
    let plain = spelled(&whole);
    if plain == whole && plain.len() <= LONGEST_NAME && !plain.is_empty() {
        plain
    } else {
        hashed(&plain, &whole)
    }
}

/// With only the letters that names and identifiers may have.
pub(super) fn spelled(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .collect()
}

/// The name cut short, told apart by a hash (FNV-1a: it must be the same in every process) of what it stands for.
fn hashed(name: &str, whole: &str) -> String {
    let hash = whole
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let short: String = name.chars().take(LONGEST_NAME - 9).collect();
    format!("{short}_{hash:08x}")
}

fn function_spec(wire: &str, mut about: String, parameters: &Value) -> Value {
    let mut schema = parameters.as_object().cloned().unwrap_or_default();
    schema.insert("type".to_owned(), json!("object"));
    // The API refuses these at the top of a tool's schema.
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(rule) = schema.remove(key) {
            about.push_str(&format!("\n\nThe arguments also obey {key}: {rule}"));
        }
    }
    spec(wire, &about, Value::Object(schema))
}

fn custom_spec(wire: &str, mut about: String, format: &Value) -> Value {
    if let Some(definition) = format["definition"].as_str() {
        let syntax = format["syntax"].as_str().unwrap_or_default();
        about.push_str(&format!(
            "\n\nThe input is text, not JSON, in this {syntax} grammar:\n{definition}"
        ));
    }
    let input =
        json!({"type": "string", "description": "The whole input of the tool, as plain text."});
    spec(
        wire,
        &about,
        json!({"type": "object", "properties": {"input": input}, "required": ["input"], "additionalProperties": false}),
    )
}

pub(super) fn spec(wire: &str, about: &str, schema: Value) -> Value {
    if about.trim().is_empty() {
        return json!({"name": wire, "input_schema": schema});
    }
    json!({"name": wire, "description": about, "input_schema": schema})
}
