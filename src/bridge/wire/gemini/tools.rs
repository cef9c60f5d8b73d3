//! The tools that core offers, as function declarations, and the way back from a function's name to the tool.

use serde_json::{Value, json};

use super::{list, put};

/// The longest name of a function.
const LONGEST_NAME: usize = 128;

/// A tool as Gemini knows it, and what core calls it.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) wire: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) custom: bool,
    pub(super) declaration: Value,
}

#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) tools: Vec<Tool>,
    /// What namespaces say about themselves.
    pub(super) notes: Vec<String>,
}

impl Catalog {
    pub(super) fn read(ask: &Value) -> Self {
        let mut catalog = Self::default();
        let late = list(&ask["input"])
            .filter(|item| {
                matches!(item["type"].as_str(), Some("additional_tools" | "tool_search_output"))
            })
            .flat_map(|item| list(&item["tools"]));
        for tool in list(&ask["tools"]).chain(late) {
            if tool["type"] != "namespace" {
                catalog.add(None, tool);
                continue;
            }
            let Some(namespace) = tool["name"].as_str() else { continue };
            if let Some(words) = tool["description"].as_str().filter(|words| !words.is_empty()) {
                catalog.notes.push(format!("Tools named {}*: {words}", flat(Some(namespace), "")));
            }
            list(&tool["tools"]).for_each(|inner| catalog.add(Some(namespace), inner));
        }
        catalog
    }

    fn add(&mut self, namespace: Option<&str>, tool: &Value) {
        let custom = tool["type"] == "custom";
        let Some(name) = tool["name"].as_str() else { return };
        // Hosted tools end here; a tool offered twice is one tool, for Gemini rejects a second declaration.
        if !(custom || tool["type"] == "function") || self.find(namespace, name).is_some() {
            return;
        }
        let mut wire = flat(namespace, name);
        if self.tools.iter().any(|other| other.wire == wire) {
            wire = hashed(&wire, &format!("{namespace:?} {name}"));
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
            let input = json!({"type": "string", "description": "The whole input of the tool, as plain text"});
            json!({"type": "object", "properties": {"input": input}, "required": ["input"]})
        } else {
            object(&tool["parameters"])
        };
        let declaration =
            json!({"name": wire, "description": description, "parametersJsonSchema": parameters});
        let namespace = namespace.map(str::to_owned);
        self.tools.push(Tool { wire, namespace, name: name.to_owned(), custom, declaration });
    }

    fn find(&self, namespace: Option<&str>, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.namespace.as_deref() == namespace && tool.name == name)
    }

    /// The wire's name of the tool that an item or a choice names.
    pub(super) fn wire(&self, item: &Value) -> Option<String> {
        let (namespace, name) = (item["namespace"].as_str(), item["name"].as_str()?);
        Some(
            self.find(namespace, name)
                .map_or_else(|| flat(namespace, name), |tool| tool.wire.clone()),
        )
    }

    /// `functionCallingConfig` for `tool_choice`; `auto` is what Gemini does anyway.
    pub(super) fn choice(&self, choice: &Value) -> Option<Value> {
        if let Some(word) = choice.as_str() {
            return match word {
                "none" => Some(json!({"mode": "NONE"})),
                "required" => Some(json!({"mode": "ANY"})),
                _ => None,
            };
        }
        let several = choice["type"] == "allowed_tools";
        let mode = if several && choice["mode"] != "required" { "VALIDATED" } else { "ANY" };
        let names: Vec<String> = if several {
            list(&choice["tools"]).filter_map(|tool| self.wire(tool)).collect()
        } else {
            self.wire(choice).into_iter().collect()
        };
        (!names.is_empty()).then(|| json!({"mode": mode, "allowedFunctionNames": names}))
    }
}

/// One name for a tool and its namespace, within what Gemini allows.
fn flat(namespace: Option<&str>, name: &str) -> String {
    let whole = match namespace {
        Some(space) => format!("{}__{name}", space.trim_end_matches("__")),
        None => name.to_owned(),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    let begins = whole.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && whole.len() <= LONGEST_NAME && whole.chars().all(allowed) {
        whole
    } else {
        hashed(&whole, &whole)
    }
}

/// What is left of a name, made unique by a hash (FNV-1a: the same in every process, as history needs it).
fn hashed(name: &str, seed: &str) -> String {
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let kept: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .take(LONGEST_NAME - 20)
        .collect();
    format!("_{kept}_{hash:016x}")
}

/// A JSON Schema without what Gemini rejects: anything beside a `$ref` except other `$` keywords, and `$schema`.
pub(super) fn clean(schema: &Value) -> Value {
    let Value::Object(map) = schema else {
        return schema
            .as_array()
            .map_or_else(|| schema.clone(), |all| all.iter().map(clean).collect());
    };
    let refers = map.contains_key("$ref");
    let kept = map.iter().filter(|(key, _)| *key != "$schema" && (!refers || key.starts_with('$')));
    let cleaned = kept.map(|(key, value)| {
        let value = match (key.as_str(), value) {
            (
                "properties" | "$defs" | "definitions" | "patternProperties",
                Value::Object(named),
            ) => named.iter().map(|(name, inner)| (name.clone(), clean(inner))).collect(),
            ("items" | "prefixItems" | "anyOf" | "oneOf" | "allOf" | "additionalProperties", _) => {
                clean(value)
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    Value::Object(cleaned.collect())
}

/// The schema of a function's parameters: always of an object, for Gemini takes no other.
fn object(parameters: &Value) -> Value {
    let mut schema = clean(parameters);
    if !schema.is_object() {
        schema = json!({});
    }
    if schema.get("type").is_none() && schema.get("$ref").is_none() {
        put(&mut schema, "type", Some(json!("object")));
    }
    schema
}
