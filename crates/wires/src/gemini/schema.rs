//! JSON Schema within what Gemini accepts.

use serde_json::Value;
use serde_json::json;

use crate::json::set;

/// Removes the keywords that Gemini rejects: `$schema`, and beside a `$ref` all but `$` keywords.
pub(super) fn supported(schema: &Value) -> Value {
    let Value::Object(map) = schema else {
        return schema
            .as_array()
            .map_or_else(|| schema.clone(), |all| all.iter().map(supported).collect());
    };
    let refers = map.contains_key("$ref");
    let kept = map.iter().filter(|(key, _)| *key != "$schema" && (!refers || key.starts_with('$')));
    let members = kept.map(|(key, value)| {
        let value = match (key.as_str(), value) {
            (
                "properties" | "$defs" | "definitions" | "patternProperties",
                Value::Object(named),
            ) => named.iter().map(|(name, inner)| (name.clone(), supported(inner))).collect(),
            ("items" | "prefixItems" | "anyOf" | "oneOf" | "allOf" | "additionalProperties", _) => {
                supported(value)
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    Value::Object(members.collect())
}

/// Returns the schema of a function's parameters, always that of an object: Gemini accepts no
/// other.
pub(super) fn of_parameters(parameters: &Value) -> Value {
    let mut schema = supported(parameters);
    if !schema.is_object() {
        schema = json!({});
    }
    if schema.get("type").is_none() && schema.get("$ref").is_none() {
        set(&mut schema, "type", json!("object"));
    }
    schema
}
