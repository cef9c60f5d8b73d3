//! Lenient access to JSON values: an absent member reads as null, "" or an empty list.

use serde_json::Value;

/// Characters of a provider's own error message that are kept.
pub(crate) const MESSAGE_CHARS: usize = 2000;
/// Characters that are shown of input that cannot be read.
pub(crate) const EXCERPT_CHARS: usize = 500;

/// Returns the elements of an array.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns the value at a JSON pointer (RFC 6901).
pub(crate) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Returns a member that is a string.
pub(crate) fn string<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the `type` of an item, part, tool or event.
pub(crate) fn kind(value: &Value) -> &str {
    string(value, "type")
}

/// Sets a member of an object. `None` leaves the object unchanged.
pub(crate) fn set(object: &mut Value, member: &str, value: impl Into<Option<Value>>) {
    if let (Some(members), Some(value)) = (object.as_object_mut(), value.into()) {
        members.insert(member.to_owned(), value);
    }
}

/// Returns the first `chars` characters of a text, marked with `…` if it is longer.
pub(crate) fn excerpt(text: &str, chars: usize) -> String {
    let text = text.trim();
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
