//! Items of a Responses conversation: messages, reasoning, tool calls.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::json::set;

/// An item as text, shared between the calls of a conversation. Only its type is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    json: Arc<str>,
    kind: ItemKind,
}

/// The kinds that need different treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// Reasoning of a model, which only its provider can read.
    Reasoning,
    /// A stand-in for the history before it, which only its provider can read.
    Compaction,
    /// Any other item.
    Other,
}

impl ItemKind {
    fn named(kind: &str) -> Self {
        match kind {
            "reasoning" => Self::Reasoning,
            "compaction" | "compaction_summary" | "context_compaction" => Self::Compaction,
            _ => Self::Other,
        }
    }
}

impl Item {
    /// An item from its JSON text, which must be valid.
    pub fn new(json: &str) -> Self {
        #[derive(Deserialize)]
        struct Tagged<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        let tagged: Option<Tagged<'_>> = serde_json::from_str(json).ok();
        let kind = ItemKind::named(tagged.as_ref().map_or("", |tagged| &tagged.kind));
        Self { json: json.into(), kind }
    }

    /// An item from its value.
    pub fn of(value: &Value) -> Self {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        Self { json: value.to_string().into(), kind: ItemKind::named(kind) }
    }

    /// Reads the item of a `response.output_item.done` event. `None` if the event is malformed.
    pub(crate) fn of_done(event: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Done<'a> {
            #[serde(borrow)]
            item: &'a RawValue,
        }
        let Done { item } = serde_json::from_str(event).ok()?;
        Some(Self::new(item.get()))
    }

    /// The JSON text.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The kind of the item.
    pub fn kind(&self) -> ItemKind {
        self.kind
    }

    /// Parses the item.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// The mark of a wire of this crate in the `encrypted_content` of an item.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// The wire.
    pub wire: String,
    /// The provider. Items of earlier versions do not name it.
    pub provider: Option<String>,
}

/// Reads the mark of an item. `None` if no wire of this crate made it.
pub fn mark(encrypted_content: &str) -> Option<Mark> {
    if !encrypted_content.starts_with('{') {
        return None;
    }
    serde_json::from_str(encrypted_content).ok()
}

/// An assistant message with one text.
pub fn message(id: &str, text: &str) -> Value {
    message_with(id, json!([{ "type": "output_text", "text": text }]))
}

/// An assistant message before its first text.
pub fn empty_message(id: &str) -> Value {
    message_with(id, json!([]))
}

fn message_with(id: &str, content: Value) -> Value {
    json!({ "type": "message", "role": "assistant", "id": id, "content": content })
}

/// Reasoning with its summary and the provider's data. Core returns `encrypted_content` unchanged.
pub(crate) fn reasoning(id: &str, summary: &str, encrypted_content: Option<String>) -> Value {
    let mut item = empty_reasoning(id);
    if !summary.is_empty() {
        set(&mut item, "summary", json!([{ "type": "summary_text", "text": summary }]));
    }
    set(&mut item, "encrypted_content", Value::from(encrypted_content));
    item
}

/// Reasoning before its first summary text.
pub(crate) fn empty_reasoning(id: &str) -> Value {
    json!({ "type": "reasoning", "id": id, "summary": [] })
}

/// A tool call. `namespace` is that of the tool, if it has one.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The id of the item.
    pub id: &'a str,
    /// The id that the result names.
    pub call_id: &'a str,
    /// The namespace of the tool.
    pub namespace: Option<&'a str>,
    /// The name of the tool.
    pub name: &'a str,
}

impl Call<'_> {
    /// A call of a function; `arguments` is the model's text, normally JSON.
    pub fn function(self, arguments: &str) -> Value {
        self.item("function_call", "arguments", arguments)
    }

    /// A call of a freeform tool.
    pub fn custom(self, input: &str) -> Value {
        self.item("custom_tool_call", "input", input)
    }

    fn item(self, kind: &str, member: &str, text: &str) -> Value {
        let Self { id, call_id, namespace, name } = self;
        let mut item =
            json!({ "type": kind, "id": id, "call_id": call_id, "name": name, member: text });
        set(&mut item, "namespace", namespace.map(Value::from));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_told_apart() {
        for (json, kind) in [
            (r#"{"type":"reasoning","summary":[]}"#, ItemKind::Reasoning),
            (r#"{"encrypted_content":"x","type":"reason\u0069ng"}"#, ItemKind::Reasoning),
            (r#"{"type":"compaction"}"#, ItemKind::Compaction),
            (r#"{"type":"message","content":[{"type":"reasoning"}]}"#, ItemKind::Other),
            (r#"{"type":1}"#, ItemKind::Other),
            (r#""reasoning""#, ItemKind::Other),
        ] {
            assert_eq!(Item::new(json).kind(), kind, "{json}");
        }
    }
}
