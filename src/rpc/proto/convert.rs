//! Conversions between protobuf messages and JSON.

use codex_gateway_engine::approval;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use super::messages::Answer;
use super::messages::Event;
use super::messages::UserInput;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::input;
use crate::ops::prompt::PromptRequest;

impl UserInput {
    /// The request as `conversation.prompt` takes it: the same checks apply.
    pub(super) fn request(
        self,
        session_id: Option<SessionId>,
        conversation_id: Option<ConversationId>,
    ) -> Result<PromptRequest, Error> {
        let mut request = json!({ "prompt": self.text, "images": self.images });
        let schema = embedded("output_schema", &self.output_schema)?;
        let fields = [
            ("session_id", session_id.map(|name| name.as_str().into())),
            ("conversation_id", conversation_id.map(|id| id.as_str().into())),
            ("model", text(self.model)),
            ("cwd", text(self.cwd)),
            ("sandbox", text(self.sandbox)),
            ("if_busy", text(self.if_busy)),
            ("timeout_ms", Some(self.timeout_ms).filter(|time| *time > 0).map(Value::from)),
            ("output_schema", schema),
            ("approval_policy", text(self.approval_policy)),
        ];
        extend(&mut request, fields);
        input::from_value(&request)
    }
}

impl Answer {
    /// The approval's id, and the answer as `conversation.approve` takes it.
    pub(super) fn read(self) -> Result<(String, approval::Answer), Error> {
        let answers =
            self.answers.into_iter().map(|answer| (answer.question_id, answer.texts.into()));
        let mut answer = json!({ "answers": serde_json::Map::from_iter(answers) });
        let fields = [
            ("decision", text(self.decision)),
            ("reason", text(self.reason)),
            ("content", embedded("content", &self.content)?),
        ];
        extend(&mut answer, fields);
        Ok((self.approval_id, input::from_value(&answer)?))
    }
}

/// A string field. Protobuf has no absent strings: an empty one is none.
fn text(text: String) -> Option<Value> {
    Some(Value::from(text)).filter(|text| *text != "")
}

/// A field that holds JSON.
fn embedded(field: &str, text: &str) -> Result<Option<Value>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_str(text);
    parsed.map(Some).map_err(|error| Error::invalid(format!("{field}: expected JSON: {error}")))
}

/// Adds the fields that are present to a request.
fn extend<const N: usize>(request: &mut Value, fields: [(&str, Option<Value>); N]) {
    if let Some(members) = request.as_object_mut() {
        let fields = fields.into_iter();
        members.extend(fields.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
}

impl Event {
    /// Converts a wire event, a line of JSON.
    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line<'a> {
            seq: u64,
            conversation_id: String,
            id: String,
            #[serde(borrow)]
            msg: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
        }
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let kind: Kind = serde_json::from_str(line.msg.get()).ok()?;
        Some(Self {
            seq: line.seq,
            conversation_id: line.conversation_id,
            id: line.id,
            r#type: kind.r#type,
            msg: line.msg.get().as_bytes().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn wire_event_becomes_a_message() {
        let line = br#"{"seq":7,"conversation_id":"c","id":"t","msg":{"type":"x","a":[1]}}
"#;
        let event = Event::from_line(line).unwrap();
        let event = Event::decode(event.encode_to_vec().as_slice()).unwrap();
        assert_eq!((event.seq, event.id.as_str(), event.r#type.as_str()), (7, "t", "x"));
        assert_eq!(event.msg, br#"{"type":"x","a":[1]}"#);
    }

    #[test]
    fn submission_gets_the_checks_of_a_prompt() {
        let input = UserInput { text: "hi".into(), sandbox: "none".into(), ..UserInput::default() };
        let error = input.request(None, None).unwrap_err().to_string();
        assert!(error.contains("sandbox") && error.contains("read-only"), "{error}");
    }
}
