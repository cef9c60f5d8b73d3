//! The messages of JSON-RPC 2.0 (sections 4 and 5 of its specification).

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::error::Kind;

/// A call, or a notification where `id` is absent.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) params: Option<&'a RawValue>,
}

/// The message as it is written. A present `null` is not an absent member: an id may be null.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Call<'a> {
    /// Reads a call, or refuses it under its id, as far as that could be read.
    pub(super) fn parse(message: &'a RawValue) -> Result<Self, Answer> {
        let refuse = |id: Value, detail: &str| {
            Answer::new(id, Err(Error::new(Kind::InvalidMessage, detail)))
        };
        // A list of the members' values would be read as an object, too.
        if !message.get().starts_with('{') {
            return Err(refuse(Value::Null, "expected a JSON-RPC 2.0 call, an object"));
        }
        let written: Written<'a> = serde_json::from_str(message.get()).map_err(|error| {
            refuse(Value::Null, &format!("expected a JSON-RPC 2.0 call, an object: {error}"))
        })?;
        let id = match written.id.map(|id| serde_json::from_str(id.get())) {
            None => None,
            Some(Ok(id @ (Value::String(_) | Value::Number(_) | Value::Null))) => Some(id),
            Some(_) => return Err(refuse(Value::Null, "id: expected a string, a number or null")),
        };
        let refuse = |detail| refuse(id.clone().unwrap_or(Value::Null), detail);
        if written.jsonrpc.is_none_or(|version| version.get() != r#""2.0""#) {
            return Err(refuse("jsonrpc: expected \"2.0\""));
        }
        let method = written.method.and_then(|method| serde_json::from_str(method.get()).ok());
        let method: String = method.ok_or_else(|| refuse("method: expected a string"))?;
        if written.params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
            return Err(refuse("params: expected an object"));
        }
        Ok(Self { id, method, params: written.params })
    }
}

/// An answer to a call.
#[derive(Debug)]
pub(super) struct Answer {
    id: Value,
    result: Result<Value, Error>,
}

impl Answer {
    pub(super) fn new(id: Value, result: Result<Value, Error>) -> Self {
        Self { id, result }
    }

    /// The answer to what was no call at all.
    pub(super) fn refusal(error: &Error, request_id: &str) -> Value {
        json!({ "jsonrpc": "2.0", "error": error.rpc(request_id), "id": null })
    }

    pub(super) fn into_value(self, request_id: &str) -> Value {
        match self.result {
            Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": self.id }),
            Err(error) => {
                json!({ "jsonrpc": "2.0", "error": error.rpc(request_id), "id": self.id })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_or_refused_under_its_id() {
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#, Ok(Some(json!(1)))),
            (r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{}}"#, Ok(Some(json!("a")))),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, Ok(Some(Value::Null))),
            (r#"{"jsonrpc":"2.0","method":"m"}"#, Ok(None)),
            (r#"{"id":1,"method":"m"}"#, Err(json!(1))),
            (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, Err(json!(1))),
            (r#"{"jsonrpc":"2.0","id":1}"#, Err(json!(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Err(json!(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":7}"#, Err(json!(1))),
            (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, Err(Value::Null)),
            ("7", Err(Value::Null)),
            (r#"["2.0",1,"m",{}]"#, Err(Value::Null)),
        ] {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            let parsed = Call::parse(raw).map(|call| call.id).map_err(|answer| answer.id);
            assert_eq!(parsed, expected, "{text}");
        }
    }
}
