//! A Responses request, kept as core wrote it.
//!
//! Every model call carries the whole history, and most of it goes to the provider unchanged: it is
//! parsed no further than necessary, and shared between the calls of a conversation.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde::de::Error as _;
use serde_json::Value;
use serde_json::value::RawValue;
use wires::item::Item;

/// A request: model, instructions, input, tools, …
#[derive(Debug, Clone, Default)]
pub struct ModelRequest {
    model: String,
    input: Vec<Item>,
    /// All other members.
    members: BTreeMap<String, Box<RawValue>>,
}

impl ModelRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// The text is no JSON object, or its `input` is no list.
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

    /// Removes and returns a member. `None` if it is absent or of another type.
    pub(super) fn take<T: DeserializeOwned>(&mut self, member: &str) -> Option<T> {
        serde_json::from_str(self.members.remove(member)?.get()).ok()
    }

    /// The model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Sets the model.
    pub(super) fn set_model(&mut self, model: &str) {
        model.clone_into(&mut self.model);
    }

    /// The input items.
    pub(super) fn input_mut(&mut self) -> &mut Vec<Item> {
        &mut self.input
    }

    /// Writes the request.
    pub fn to_json(&self) -> String {
        let members = self.members.iter().map(|(name, member)| name.len() + member.get().len() + 4);
        let items = self.input.iter().map(|item| item.json().len() + 1);
        let size = members.chain(items).sum::<usize>() + self.model.len() + 64;
        let mut json = String::with_capacity(size);
        // Writing to a string does not fail.
        let _ = write!(json, r#"{{"model":{},"input":["#, Value::from(self.model.as_str()));
        for (at, item) in self.input.iter().enumerate() {
            json.push_str(if at == 0 { "" } else { "," });
            json.push_str(item.json());
        }
        json.push(']');
        for (name, member) in &self.members {
            let _ = write!(json, ",{}:{member}", Value::from(name.as_str()));
        }
        json.push('}');
        json
    }

    /// Parses the whole request.
    ///
    /// # Errors
    /// The request is nested too deeply.
    pub fn to_value(&self) -> serde_json::Result<Value> {
        serde_json::from_str(&self.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unread_members_stay_byte_for_byte() {
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
    fn invalid_requests_are_explained() {
        for (json, expected) in [
            ("{", "EOF"),
            ("[]", "expected a map"),
            (r#"{"input":"hello"}"#, "expected `input`, a list"),
        ] {
            let error = ModelRequest::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(ModelRequest::parse(b"{}").unwrap().to_json(), r#"{"model":"","input":[]}"#);
    }
}
