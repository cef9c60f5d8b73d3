//! The name of the API in errors, and what several files of this wire need.

use serde_json::Value;
use serde_json::json;

use crate::WireError;

/// The name of the API in errors.
pub(super) const API: &str = "Anthropic";
/// The mark of this wire in reasoning that core keeps.
pub(super) const MARK: &str = "anthropic";

pub(super) fn invalid(problem: impl std::fmt::Display) -> WireError {
    WireError::invalid_request(API, problem)
}

/// A text block. `None` for blank text, which the API rejects.
pub(super) fn text(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "text", "text": text }))
}

/// Marks the end of a prefix to cache. The API accepts four marks: tools, system and the last two
/// user turns have one each.
pub(super) fn cache(block: Option<&mut Value>) {
    if let Some(block) = block.and_then(Value::as_object_mut) {
        block.insert("cache_control".to_owned(), json!({ "type": "ephemeral" }));
    }
}
