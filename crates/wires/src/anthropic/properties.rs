//! Names of properties. The API rejects a request if one tool has a property whose name is not 1 to
//! 64 of `A-Za-z0-9_.-`, as `$filter` and `filter[id]` of MCP servers are.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::names;

/// Returns a schema with names that the API accepts. `renamed` receives the original of each new
/// name.
pub(super) fn renamed(schema: &Value, renamed: &mut BTreeMap<String, String>) -> Value {
    match schema {
        Value::Array(all) => all.iter().map(|schema| self::renamed(schema, renamed)).collect(),
        Value::Object(members) => {
            let mut changed = serde_json::Map::new();
            for (key, value) in members {
                let value = match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        let mut all = serde_json::Map::new();
                        for (name, schema) in properties {
                            let mut schema = self::renamed(schema, renamed);
                            let accepted = accepted(name);
                            if accepted != *name {
                                describe(&mut schema, name);
                                renamed.insert(accepted.clone(), name.clone());
                            }
                            all.insert(accepted, schema);
                        }
                        Value::Object(all)
                    }
                    ("required", Value::Array(names)) => {
                        let name = |name: &Value| {
                            name.as_str().map_or(name.clone(), |name| accepted(name).into())
                        };
                        names.iter().map(name).collect()
                    }
                    // These hold values, not schemas.
                    ("enum" | "const" | "default" | "examples", _) => value.clone(),
                    _ => self::renamed(value, renamed),
                };
                changed.insert(key.clone(), value);
            }
            Value::Object(changed)
        }
        other => other.clone(),
    }
}

/// Tells the model the name that the tool's description uses.
fn describe(schema: &mut Value, name: &str) {
    if let Some(members) = schema.as_object_mut() {
        let before = members.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{before} (named `{name}` elsewhere)");
        members.insert("description".to_owned(), json!(description.trim()));
    }
}

/// Returns a name itself if the API accepts it, or else one with a hash.
pub(super) fn accepted(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if (1..=names::NAME_CHARS).contains(&name.len()) && name.chars().all(fits) {
        return name.to_owned();
    }
    names::hashed(&names::sanitized(name), name)
}

/// Renames the members of a value and of all values in it.
pub(super) fn with_names(value: &Value, name: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::Array(all) => all.iter().map(|value| with_names(value, name)).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| (name(key), with_names(value, name))).collect()
        }
        other => other.clone(),
    }
}
