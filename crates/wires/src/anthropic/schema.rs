//! Structured output: `output_config.format` (page "Structured outputs"), or an instruction for
//! models without it.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::api::text;
use super::claude::Claude;

/// The string formats that structured outputs support.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Returns the format of the answer. For older models it appends an instruction to `system`
/// instead.
pub(super) fn format(request: &Value, claude: &Claude, system: &mut Vec<Value>) -> Option<Value> {
    let format = &request["text"]["format"];
    let schema = match format["type"].as_str() {
        Some("json_schema") if claude.has_structured_outputs() => {
            return Some(json!({"type": "json_schema", "schema": narrowed(&format["schema"])}));
        }
        Some("json_schema") => format["schema"].clone(),
        Some("json_object") => json!({"type": "object"}),
        _ => return None,
    };
    let rule = "Answer with one JSON value and nothing else, no Markdown. It must be valid under this \
                JSON schema:";
    system.extend(text(&format!("{rule}\n{schema}")));
    None
}

/// Translates a schema into the dialect of structured outputs: objects are closed, and unsupported
/// keywords move into the description.
fn narrowed(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let (mut kept, mut described) = (Map::new(), Vec::new());
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
                kept.insert(key.clone(), each(value));
            }
            "oneOf" => drop(kept.insert("anyOf".to_owned(), each(value))),
            "items" => drop(kept.insert(key.clone(), narrowed(value))),
            "type" | "enum" | "const" | "required" | "description" | "title" | "default"
            | "$ref" => {
                kept.insert(key.clone(), value.clone());
            }
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => {
                kept.insert(key.clone(), value.clone());
            }
            "minItems" if value.as_u64().is_some_and(|least| least < 2) => {
                kept.insert(key.clone(), value.clone());
            }
            "$schema" | "$id" => {}
            "additionalProperties" if value.is_boolean() => {}
            _ => described.push(format!("{key}: {value}")),
        }
    }
    if fields.get("type").is_some_and(|kind| kind == "object") || fields.contains_key("properties")
    {
        kept.insert("additionalProperties".to_owned(), json!(false));
    }
    if !described.is_empty() {
        let before = kept.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{before} ({})", described.join(", "));
        kept.insert("description".to_owned(), json!(description.trim()));
    }
    Value::Object(kept)
}
