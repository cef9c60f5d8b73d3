//! Reasoning as servers stream it, joined into the form that they accept back.

use serde_json::Map;
use serde_json::Value;

use crate::json::kind;

/// Fields of a delta that carry reasoning text; the first one with text is shown.
pub(super) const TEXT_FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];
/// The field of a delta with structured reasoning, such as signatures.
pub(super) const DETAILS_FIELD: &str = "reasoning_details";

/// Appends a fragment of reasoning to its field.
pub(super) fn append(fields: &mut Map<String, Value>, field: &str, value: &Value) {
    match (fields.get_mut(field), value) {
        (Some(Value::String(whole)), Value::String(more)) => whole.push_str(more),
        (Some(Value::Array(whole)), Value::Array(more)) => {
            more.iter().for_each(|detail| append_detail(whole, detail));
        }
        (_, Value::Array(more)) => {
            let mut whole = Vec::new();
            more.iter().for_each(|detail| append_detail(&mut whole, detail));
            fields.insert(field.to_owned(), Value::Array(whole));
        }
        (_, value) => drop(fields.insert(field.to_owned(), value.clone())),
    }
}

/// Appends a detail. OpenRouter streams all but encrypted details in pieces and rejects them
/// unjoined.
fn append_detail(details: &mut Vec<Value>, piece: &Value) {
    let continues = |whole: &Value| {
        matches!(kind(piece), "reasoning.text" | "reasoning.summary")
            && kind(whole) == kind(piece)
            && whole["index"] == piece["index"]
    };
    let whole = details.last_mut().filter(|whole| continues(whole));
    let (Some(whole), Some(piece_fields)) =
        (whole.and_then(Value::as_object_mut), piece.as_object())
    else {
        details.push(piece.clone());
        return;
    };
    for (key, value) in piece_fields.iter().filter(|(_, value)| !value.is_null()) {
        match (whole.get_mut(key), value) {
            (Some(Value::String(text)), Value::String(more))
                if key == "text" || key == "summary" =>
            {
                text.push_str(more);
            }
            _ => drop(whole.insert(key.clone(), value.clone())),
        }
    }
}
