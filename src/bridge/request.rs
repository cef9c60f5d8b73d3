//! A Responses request, kept as core wrote it.
//!
//! Every model call carries the whole history again, and most of it goes to the provider as it came: it is
//! read no further than it has to be, and shared between the calls of a conversation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::Error as _;
use serde_json::Value;
use serde_json::value::RawValue;

/// A request: model, instructions, input, tools, …
#[derive(Debug, Clone, Default)]
pub struct ModelRequest {
    model: String,
    input: Vec<Item>,
    /// The rest.
    members: BTreeMap<String, Box<RawValue>>,
}

/// One item of the input: a message, a tool call, its result, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    json: Arc<str>,
    kind: Kind,
}

/// What the bridge tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the model thought.
    Reasoning,
    /// What stands for the history before it.
    Compaction,
    /// Anything else.
    Other,
}

impl ModelRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// It is no JSON object, or its `input` no list.
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let mut request = Self { members: serde_json::from_slice(json)?, ..Self::default() };
        request.model = request.take("model").unwrap_or_default();
        if let Some(input) = request.members.remove("input") {
            let items: Vec<&RawValue> = serde_json::from_str(input.get())
                .map_err(|_| serde_json::Error::custom("expected `input`, a list"))?;
            request.input = items.into_iter().map(|item| Item::new(item.get())).collect();
        }
        Ok(request)
    }

    /// Takes a member out: `None` where it is not there, or something else.
    pub(super) fn take<T: DeserializeOwned>(&mut self, member: &str) -> Option<T> {
        serde_json::from_str(self.members.remove(member)?.get()).ok()
    }

    /// The model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Asks another model.
    pub(super) fn set_model(&mut self, model: &str) {
        model.clone_into(&mut self.model);
    }

    /// What the model is shown.
    pub(super) fn input_mut(&mut self) -> &mut Vec<Item> {
        &mut self.input
    }

    /// The request, written out.
    pub fn to_json(&self) -> String {
        let members = self.members.iter().map(|(name, member)| name.len() + member.get().len() + 4);
        let items = self.input.iter().map(|item| item.json.len() + 1);
        let size = members.chain(items).sum::<usize>() + self.model.len() + 64;
        let mut json = String::with_capacity(size);
        // Writing to a string does not fail.
        let _ = write!(json, r#"{{"model":{},"input":["#, Value::from(self.model.as_str()));
        for (at, item) in self.input.iter().enumerate() {
            json.push_str(if at == 0 { "" } else { "," });
            json.push_str(&item.json);
        }
        json.push(']');
        for (name, member) in &self.members {
            let _ = write!(json, ",{}:{member}", Value::from(name.as_str()));
        }
        json.push('}');
        json
    }

    /// The request, to be looked into.
    ///
    /// # Errors
    /// It is nested too deeply.
    pub fn to_value(&self) -> serde_json::Result<Value> {
        serde_json::from_str(&self.to_json())
    }
}

impl Item {
    /// An item; `json` is a JSON value.
    pub(super) fn new(json: &str) -> Self {
        #[derive(Deserialize)]
        struct Tagged<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        let tagged: Option<Tagged<'_>> = serde_json::from_str(json).ok();
        let kind = match tagged.as_ref().map_or("", |tagged| &tagged.kind) {
            "reasoning" => Kind::Reasoning,
            "compaction" | "compaction_summary" | "context_compaction" => Kind::Compaction,
            _ => Kind::Other,
        };
        Self { json: json.into(), kind }
    }

    /// The item that a `response.output_item.done` event holds.
    pub(super) fn done(event: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Done<'a> {
            #[serde(borrow)]
            item: &'a RawValue,
        }
        let Done { item } = serde_json::from_str(event).ok()?;
        Some(Self::new(item.get()))
    }

    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The item, to be looked into.
    pub(super) fn to_value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_looked_into_stays_as_it_was_written() {
        let json = r#"{"input":[{"type":"message", "n":1},null],"model":"a\"b","tools":[ 1 ],"x":"\u0041"}"#;
        let mut request = ModelRequest::parse(json.as_bytes()).unwrap();
        assert_eq!(request.model(), "a\"b");
        assert_eq!(
            request.to_json(),
            r#"{"model":"a\"b","input":[{"type":"message", "n":1},null],"tools":[ 1 ],"x":"\u0041"}"#
        );
        assert_eq!(
            request.to_value().unwrap(),
            json!({ "model": "a\"b", "input": [{ "type": "message", "n": 1 }, null],
                    "tools": [1], "x": "A" })
        );
        request.set_model("c");
        assert_eq!(request.take::<String>("x").as_deref(), Some("A"));
        assert_eq!(request.take::<String>("tools"), None);
        request.input_mut().clear();
        assert_eq!(request.to_json(), r#"{"model":"c","input":[]}"#);
    }

    #[test]
    fn items_are_told_apart() {
        for (json, kind) in [
            (r#"{"type":"reasoning","summary":[]}"#, Kind::Reasoning),
            (r#"{"encrypted_content":"x","type":"reason\u0069ng"}"#, Kind::Reasoning),
            (r#"{"type":"compaction"}"#, Kind::Compaction),
            (r#"{"type":"message","content":[{"type":"reasoning"}]}"#, Kind::Other),
            (r#"{"type":1}"#, Kind::Other),
            (r#""reasoning""#, Kind::Other),
        ] {
            assert_eq!(Item::new(json).kind(), kind, "{json}");
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        for (json, told) in [
            ("{", "EOF"),
            ("[]", "expected a map"),
            (r#"{"input":"hello"}"#, "expected `input`, a list"),
        ] {
            let error = ModelRequest::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert_eq!(ModelRequest::parse(b"{}").unwrap().to_json(), r#"{"model":"","input":[]}"#);
    }
}
