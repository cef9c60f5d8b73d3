//! The messages of JSON-RPC 2.0 (sections 4 to 6 of its specification).

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::error::Kind;
use crate::input;

/// The most calls in one batch: they all run at once.
const MAX_BATCH: usize = 100;

/// JSON's whitespace (RFC 8259, section 2).
const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A message of a client. Parsed once, it can be counted, refused or answered.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Call(ParsedCall<'a>),
    Batch(Vec<ParsedCall<'a>>),
    /// Not a message; the error answers it.
    Invalid(Error),
}

/// A call, or the response that refuses it.
pub(super) type ParsedCall<'a> = Result<Call<'a>, Response>;

impl<'a> Message<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
        // Bytes that are not UTF-8 are not JSON either: `json_error` finds them.
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim_matches(WHITESPACE);
        let message = if text.starts_with('[') {
            Self::parse_batch(text)
        } else {
            Self::Call(Call::parse(text))
        };
        match message {
            Self::Call(Ok(_)) | Self::Batch(_) => message,
            // A message that is not JSON has an error code of its own.
            Self::Call(Err(_)) | Self::Invalid(_) => {
                json_error(bytes).map_or(message, Self::Invalid)
            }
        }
    }

    fn parse_batch(text: &'a str) -> Self {
        let invalid = |detail| Self::Invalid(Error::new(Kind::InvalidMessage, detail));
        let Ok(calls) = serde_json::from_str::<Vec<&RawValue>>(text) else {
            return invalid("expected a batch, a list of calls".to_owned());
        };
        match calls.len() {
            0 => invalid("expected a batch of at least one call".to_owned()),
            1..=MAX_BATCH => {
                Self::Batch(calls.into_iter().map(|call| Call::parse(call.get())).collect())
            }
            _ => invalid(format!("expected a batch of at most {MAX_BATCH} calls")),
        }
    }

    /// The number of calls. An invalid message counts as one.
    pub(super) fn calls(&self) -> u32 {
        match self {
            Self::Call(_) | Self::Invalid(_) => 1,
            Self::Batch(calls) => u32::try_from(calls.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The parser's error, if the message is not JSON.
fn json_error(bytes: &[u8]) -> Option<Error> {
    input::well_formed(bytes).err()
}

/// A call, or a notification if `id` is absent.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) params: Option<&'a RawValue>,
}

/// The members of a call, not yet checked. An id that is null is present.
#[derive(Deserialize)]
struct Members<'a> {
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
    /// Parses a call. The response that refuses it carries the id, if that is valid.
    fn parse(text: &'a str) -> ParsedCall<'a> {
        let refuse = |id: Value, detail: &str| {
            Response::new(id, Err(Error::new(Kind::InvalidMessage, detail)))
        };
        // Serde would accept a list of the members' values as well.
        if !text.starts_with('{') {
            return Err(refuse(Value::Null, "expected a JSON-RPC 2.0 call, an object"));
        }
        let members: Members<'a> = serde_json::from_str(text).map_err(|error| {
            refuse(Value::Null, &format!("expected a JSON-RPC 2.0 call, an object: {error}"))
        })?;
        let id = match members.id.map(|id| serde_json::from_str(id.get())) {
            None => None,
            Some(Ok(id @ (Value::String(_) | Value::Number(_) | Value::Null))) => Some(id),
            Some(_) => return Err(refuse(Value::Null, "id: expected a string, a number or null")),
        };
        let refuse = |detail| refuse(id.clone().unwrap_or(Value::Null), detail);
        if members.jsonrpc.is_none_or(|version| version.get() != r#""2.0""#) {
            return Err(refuse("jsonrpc: expected \"2.0\""));
        }
        let method = members.method.and_then(|method| serde_json::from_str(method.get()).ok());
        let method: String = method.ok_or_else(|| refuse("method: expected a string"))?;
        if members.params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
            return Err(refuse("params: expected an object"));
        }
        Ok(Self { id, method, params: members.params })
    }
}

/// The response to a call.
#[derive(Debug)]
pub(super) struct Response {
    id: Value,
    result: Result<Box<RawValue>, Error>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    id: &'a Value,
}

impl Response {
    pub(super) fn new(id: Value, result: Result<Box<RawValue>, Error>) -> Self {
        Self { id, result }
    }

    /// Encodes the response. Errors carry `request_id`.
    pub(super) fn encode(&self, request_id: &str) -> String {
        let envelope = Envelope {
            jsonrpc: "2.0",
            result: self.result.as_deref().ok(),
            error: self.result.as_ref().err().map(|error| error.rpc(request_id)),
            id: &self.id,
        };
        serde_json::to_string(&envelope).expect("a response has string keys only")
    }
}

/// Encodes the response to a message that is not a call.
pub(super) fn error_response(error: Error, request_id: &str) -> String {
    Response::new(Value::Null, Err(error)).encode(request_id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn malformed_call_is_refused_under_its_id() {
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
            let parsed = Call::parse(text).map(|call| call.id).map_err(|response| response.id);
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn broken_json_and_malformed_calls_differ() {
        for (bytes, expected) in [
            (&br#" {"jsonrpc":"2.0","method":"m"} "#[..], "call"),
            (b"{\"id\":1,\"id\":2}", "refused"),
            (b"{\"id\":1,\"id\":2", "invalid_json"),
            (b"\x0c{\"jsonrpc\":\"2.0\",\"method\":\"m\"}", "invalid_json"),
            (b"{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"other\":\"\xff\"}", "invalid_json"),
            (b"", "invalid_json"),
            (b"{} {}", "invalid_json"),
            (b" [7]", "batch of 1"),
            (b"[7,]", "invalid_json"),
            (b"[]", "invalid_message"),
        ] {
            let parsed = match Message::parse(bytes) {
                Message::Call(Ok(_)) => "call".to_owned(),
                Message::Call(Err(_)) => "refused".to_owned(),
                Message::Batch(calls) => format!("batch of {}", calls.len()),
                Message::Invalid(error) => error.code().to_owned(),
            };
            assert_eq!(parsed, expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn response_members_keep_their_order() {
        let result = RawValue::from_string(r#"{"b":1,"a":2}"#.to_owned()).unwrap();
        assert_eq!(
            Response::new(json!("x"), Ok(result)).encode("r"),
            r#"{"jsonrpc":"2.0","result":{"b":1,"a":2},"id":"x"}"#
        );
        let error = error_response(Error::invalid("bad"), "r");
        assert!(error.starts_with(r#"{"jsonrpc":"2.0","error":{"code":-32602,"#), "{error}");
        assert!(error.ends_with(r#","id":null}"#), "{error}");
    }
}
