//! Structured output: `output_config.format` (page "Structured outputs"), or words where the model has no such thing.

use super::claude::Claude;
use super::text;
use serde_json::{Map, Value, json};

/// The formats of strings that structured outputs know.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The format that the answer is asked for in; for older models a rule in `system` instead.
pub(super) fn format(ask: &Value, claude: &Claude, system: &mut Vec<Value>) -> Option<Value> {
    let format = &ask["text"]["format"];
    let schema = match format["type"].as_str() {
        Some("json_schema") if claude.structures() => {
            return Some(json!({"type": "json_schema", "schema": narrowed(&format["schema"])}));
        }
        Some("json_schema") => format["schema"].clone(),
        Some("json_object") => json!({"type": "object"}),
        _ => return None,
    };
    let rule = "Answer with one JSON value and nothing else, no Markdown. It must be valid under this JSON schema:";
    system.extend(text(&format!("{rule}\n{schema}")));
    None
}

/// The schema in the dialect of structured outputs: objects are closed, and what the dialect lacks is said in words.
fn narrowed(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let (mut kept, mut said) = (Map::new(), Vec::new());
    let each = |value: &Value| match value {
        Value::Array(all) => Value::Array(all.iter().map(narrowed).collect()),
        Value::Object(all) => {
            all.iter().map(|(key, value)| (key.clone(), narrowed(value))).collect()
        }
        other => other.clone(),
    };
    for (key, value) in fields {
        match key.as_str() {
            "properties" | "$defs" | "definitions" | "anyOf" | "allOf" => {
                _ = kept.insert(key.clone(), each(value))
            }
            "oneOf" => _ = kept.insert("anyOf".to_owned(), each(value)),
            "items" => _ = kept.insert(key.clone(), narrowed(value)),
            "type" | "enum" | "const" | "required" | "description" | "title" | "default"
            | "$ref" => {
                kept.insert(key.clone(), value.clone());
            }
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => {
                kept.insert(key.clone(), value.clone());
            }
            "minItems" if value.as_u64().is_some_and(|least| least < 2) => {
                _ = kept.insert(key.clone(), value.clone())
            }
            "$schema" | "$id" => {}
            "additionalProperties" if value.is_boolean() => {}
            _ => said.push(format!("{key}: {value}")),
        }
    }
    if fields.get("type").is_some_and(|kind| kind == "object") || fields.contains_key("properties")
    {
        kept.insert("additionalProperties".to_owned(), json!(false));
    }
    if !said.is_empty() {
        let before = kept.get("description").and_then(Value::as_str).unwrap_or_default();
        let described = format!("{before} ({})", said.join(", "));
        kept.insert("description".to_owned(), json!(described.trim()));
    }
    Value::Object(kept)
}
