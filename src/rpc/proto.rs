//! `proto`: submissions and events in protobuf, for clients that have it already. The messages are
//! those of `proto/codex_gateway.proto`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codex_gateway_engine::approval;
use futures::StreamExt;
use prost::Message;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use super::conversation::Which;
use super::peer::Peer;
use crate::api::cancel_on_disconnect::CancelOnDrop;
use crate::api::conversations::act::interrupt;
use crate::api::conversations::look;
use crate::api::prompt::PromptRequest;
use crate::conversation::ConversationRef;
use crate::conversation::Turn;
use crate::error::Error;
use crate::rpc::ws::Socket;
use crate::stream;
use crate::stream::Item;
use crate::stream::StreamEnd;

/// A message in base64, on a stream that the client named.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Envelope {
    /// The client's own; sent back with the answer and every event.
    stream_id: String,
    /// A `Submission` (an `Accepted`, in the answer) of `codex_gateway.proto`, in base64.
    data: String,
}

#[derive(Clone, PartialEq, Message)]
struct Submission {
    #[prost(string, tag = "1")]
    conversation_id: String,
    #[prost(string, tag = "2")]
    session_id: String,
    #[prost(oneof = "Op", tags = "3, 4, 5")]
    op: Option<Op>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Op {
    #[prost(message, tag = "3")]
    UserInput(UserInput),
    #[prost(message, tag = "4")]
    Interrupt(Interrupt),
    #[prost(message, tag = "5")]
    Answer(Answer),
}

#[derive(Clone, PartialEq, Message)]
struct UserInput {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(string, repeated, tag = "2")]
    images: Vec<String>,
    #[prost(string, tag = "3")]
    model: String,
    #[prost(string, tag = "4")]
    cwd: String,
    #[prost(string, tag = "5")]
    sandbox: String,
    #[prost(uint64, tag = "6")]
    timeout_ms: u64,
    #[prost(string, tag = "7")]
    if_busy: String,
    #[prost(string, tag = "8")]
    output_schema: String,
    #[prost(string, tag = "9")]
    approval_policy: String,
}

#[derive(Clone, PartialEq, Message)]
struct Interrupt {}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(string, tag = "1")]
    approval_id: String,
    #[prost(string, tag = "2")]
    decision: String,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(message, repeated, tag = "4")]
    answers: Vec<QuestionAnswer>,
    #[prost(string, tag = "5")]
    content: String,
}

#[derive(Clone, PartialEq, Message)]
struct QuestionAnswer {
    #[prost(string, tag = "1")]
    question_id: String,
    #[prost(string, repeated, tag = "2")]
    texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Accepted {
    #[prost(string, tag = "1")]
    conversation_id: String,
    #[prost(string, tag = "2")]
    session_id: String,
    #[prost(string, tag = "3")]
    turn_id: String,
    #[prost(uint64, tag = "4")]
    after_seq: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(string, tag = "2")]
    conversation_id: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(string, tag = "4")]
    r#type: String,
    #[prost(bytes = "vec", tag = "5")]
    msg: Vec<u8>,
}

/// `proto`
pub(super) async fn submit(peer: &Peer, envelope: Envelope) -> Result<Envelope, Error> {
    let Envelope { stream_id, data } = envelope;
    if !(1..=128).contains(&stream_id.len()) {
        return Err(Error::invalid("stream_id: expected 1 to 128 bytes"));
    }
    let bytes = STANDARD
        .decode(data)
        .map_err(|error| Error::invalid(format!("data: expected base64: {error}")))?;
    let submission = Submission::decode(bytes.as_slice()).map_err(|error| {
        Error::invalid(format!("data: expected a Submission of codex_gateway.proto: {error}"))
    })?;
    let present = |text: String| Some(text).filter(|text| !text.is_empty());
    let session_id = present(submission.session_id);
    let conversation_id = present(submission.conversation_id);
    let accepted = match submission.op {
        Some(Op::UserInput(input)) => {
            let request = input.request(session_id, conversation_id)?;
            let checked = request.check(peer.app(), peer.caller())?;
            let (turn, tied) =
                checked.start(peer.app(), CancelOnDrop::wanted(peer.context())).await?;
            let accepted = Accepted {
                conversation_id: turn.conversation.id().to_string(),
                session_id: turn.conversation.session_id().to_string(),
                turn_id: turn.id.to_string(),
                after_seq: turn.after,
            };
            follow(peer, stream_id.clone(), turn, tied);
            accepted
        }
        Some(Op::Interrupt(Interrupt {})) => {
            let known = Which::new(session_id, conversation_id).expect(peer.app())?;
            let turn_id = interrupt(&known).await?.turn_id;
            let after_seq = match &known {
                ConversationRef::Live(conversation) => conversation.log().last_seq(),
                ConversationRef::Stored(_) => 0,
            };
            Accepted {
                conversation_id: known.id().to_string(),
                session_id: known.session_id().to_string(),
                turn_id: turn_id.unwrap_or_default(),
                after_seq,
            }
        }
        Some(Op::Answer(answer)) => {
            let known = Which::new(session_id, conversation_id).expect(peer.app())?;
            let (turn_id, after_seq) = match &known {
                ConversationRef::Live(conversation) => {
                    (conversation.snapshot().turn_id, conversation.log().last_seq())
                }
                ConversationRef::Stored(_) => (None, 0),
            };
            let (approval_id, answer) = answer.read()?;
            look::decide(peer.app(), known.id(), &approval_id, answer, peer.caller()).await?;
            Accepted {
                conversation_id: known.id().to_string(),
                session_id: known.session_id().to_string(),
                turn_id: turn_id.map(|id| id.to_string()).unwrap_or_default(),
                after_seq,
            }
        }
        None => {
            return Err(Error::invalid("data: expected op: user_input, interrupt or answer"));
        }
    };
    Ok(Envelope { stream_id, data: STANDARD.encode(accepted.encode_to_vec()) })
}

impl UserInput {
    /// The same request as that of `conversation.prompt`, so that it is checked in the same way.
    fn request(
        self,
        session_id: Option<String>,
        conversation_id: Option<String>,
    ) -> Result<PromptRequest, Error> {
        let mut request = json!({ "prompt": self.text, "images": self.images });
        let schema = embedded("output_schema", &self.output_schema)?;
        let chosen = [
            ("session_id", session_id.map(Value::from)),
            ("conversation_id", conversation_id.map(Value::from)),
            ("model", text(self.model)),
            ("cwd", text(self.cwd)),
            ("sandbox", text(self.sandbox)),
            ("if_busy", text(self.if_busy)),
            ("timeout_ms", Some(self.timeout_ms).filter(|time| *time > 0).map(Value::from)),
            ("output_schema", schema),
            ("approval_policy", text(self.approval_policy)),
        ];
        choose(&mut request, chosen);
        read(request)
    }
}

impl Answer {
    /// The same answer as that of `conversation.approve`, and what it answers.
    fn read(self) -> Result<(String, approval::Answer), Error> {
        let answers =
            self.answers.into_iter().map(|answer| (answer.question_id, answer.texts.into()));
        let mut answer = json!({ "answers": serde_json::Map::from_iter(answers) });
        let chosen = [
            ("decision", text(self.decision)),
            ("reason", text(self.reason)),
            ("content", embedded("content", &self.content)?),
        ];
        choose(&mut answer, chosen);
        Ok((self.approval_id, read(answer)?))
    }
}

/// What was written; in protobuf an empty string is none.
fn text(text: String) -> Option<Value> {
    Some(Value::from(text)).filter(|text| *text != "")
}

/// JSON in a field.
fn embedded(field: &str, text: &str) -> Result<Option<Value>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_str(text);
    parsed.map(Some).map_err(|error| Error::invalid(format!("{field}: expected JSON: {error}")))
}

fn choose<const N: usize>(request: &mut Value, chosen: [(&str, Option<Value>); N]) {
    if let Some(members) = request.as_object_mut() {
        let chosen = chosen.into_iter();
        members.extend(chosen.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
}

/// Reads it as the call that says the same in JSON is read.
fn read<T: DeserializeOwned>(request: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(request).map_err(|error| {
        let path = error.path().to_string();
        Error::invalid(error.inner().to_string()).at_field(&path)
    })
}

/// Sends the turn's events as notifications, where the call came over a socket, once it has been
/// answered.
fn follow(peer: &Peer, stream_id: String, turn: Turn, tied: CancelOnDrop) {
    let Some(socket) = peer.socket().cloned() else { return };
    let reading =
        peer.app().reading(&turn.conversation, turn.after, StreamEnd::end_of(&turn), false);
    let counted = peer.app().stream_guard();
    peer.then(async move {
        send(&socket, &stream_id, stream::events(reading)).await;
        drop((tied, counted));
    });
}

async fn send(socket: &Socket, stream_id: &str, items: impl futures::Stream<Item = Item>) {
    let mut items = std::pin::pin!(items);
    while let Some(item) = items.next().await {
        let events: Vec<Event> = match item {
            Item::Events(entries) => {
                entries.iter().filter_map(|entry| event(&entry.line)).collect()
            }
            Item::Notice(own) => event(own.line().as_bytes()).into_iter().collect(),
            Item::Heartbeat => Vec::new(),
        };
        for event in events {
            let data = STANDARD.encode(event.encode_to_vec());
            let params = json!({ "stream_id": stream_id, "data": data });
            if socket.notify("proto.event", &params).await.is_err() {
                return;
            }
        }
    }
}

/// A wire event, a line, as a message.
fn event(line: &[u8]) -> Option<Event> {
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
    Some(Event {
        seq: line.seq,
        conversation_id: line.conversation_id,
        id: line.id,
        r#type: kind.r#type,
        msg: line.msg.get().as_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_event_becomes_a_message() {
        let line = br#"{"seq":7,"conversation_id":"c","id":"t","msg":{"type":"x","a":[1]}}
"#;
        let event = event(line).unwrap();
        let event = Event::decode(event.encode_to_vec().as_slice()).unwrap();
        assert_eq!((event.seq, event.id.as_str(), event.r#type.as_str()), (7, "t", "x"));
        assert_eq!(event.msg, br#"{"type":"x","a":[1]}"#);
    }

    #[test]
    fn a_submission_is_checked_as_a_prompt_is() {
        let input = UserInput { text: "hi".into(), sandbox: "none".into(), ..UserInput::default() };
        let error = input.request(None, None).unwrap_err().to_string();
        assert!(error.contains("sandbox") && error.contains("read-only"), "{error}");
    }
}
