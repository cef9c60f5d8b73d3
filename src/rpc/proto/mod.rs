//! `proto`: submissions and events in protobuf, for clients that use it already. The messages are
//! those of `proto/codex_gateway.proto`.

mod convert;
mod messages;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use self::messages::Accepted;
use self::messages::Answer;
use self::messages::Event;
use self::messages::Interrupt;
use self::messages::Op;
use self::messages::Submission;
use super::call_context::CallContext;
use super::conversation::ConversationParams;
use super::reply::Reply;
use super::socket::Socket;
use crate::conversation::ConversationRef;
use crate::conversation::id::ApprovalId;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::input::bytes::Base64;
use crate::input::text::Text;
use crate::ops;
use crate::ops::prompt::PromptRequest;
use crate::ops::prompt::StartedTurn;
use crate::stream::EventReader;
use crate::stream::Item;
use crate::stream::StreamEnd;

/// A submission in protobuf, on a stream that the client names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProtoRequest {
    /// Chosen by the client; returned with the response and every event.
    stream_id: Text<128>,
    /// A `Submission` of `codex_gateway.proto`, in base64.
    data: Base64,
}

/// A message in protobuf, on the stream that the client named.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProtoMessage {
    stream_id: String,
    /// In a response an `Accepted`, in a notification an `Event`, of `codex_gateway.proto`, in
    /// base64.
    #[schemars(with = "Base64")]
    data: String,
}

/// `proto`
pub(super) async fn submit(
    call: &CallContext,
    request: ProtoRequest,
) -> Result<Reply<ProtoMessage>, Error> {
    let ProtoRequest { stream_id, data: Base64(bytes) } = request;
    let stream_id = stream_id.into_string();
    let submission = Submission::decode(bytes.as_slice()).map_err(|error| {
        Error::invalid(format!("data: expected a Submission of codex_gateway.proto: {error}"))
    })?;
    let present = |text: String| Some(text).filter(|text| !text.is_empty());
    let session_id = present(submission.session_id).map(|name| SessionId::parse(&name));
    let session_id = session_id.transpose().map_err(|error| error.at_field("session_id"))?;
    let conversation_id = present(submission.conversation_id).map(|id| ConversationId::parse(&id));
    let conversation_id =
        conversation_id.transpose().map_err(|error| error.at_field("conversation_id"))?;
    let require =
        || ConversationParams::new(session_id.clone(), conversation_id.clone()).require(call);
    let (accepted, events) = match submission.op {
        Some(Op::UserInput(input)) => {
            let request = input.request(session_id, conversation_id)?;
            prompt(call, request, &stream_id).await?
        }
        Some(Op::Interrupt(Interrupt {})) => (interrupt(&require()?).await?, None),
        Some(Op::Answer(answer)) => (approve(call, &require()?, answer).await?, None),
        None => {
            return Err(Error::invalid("data: expected user_input, interrupt or answer as the op"));
        }
    };
    let data = STANDARD.encode(accepted.encode_to_vec());
    let reply = Reply::from(ProtoMessage { stream_id, data });
    Ok(match events {
        Some(events) => reply.then(events),
        None => reply,
    })
}

/// Starts a turn. Returns the task that sends its events, if the call came over a socket.
async fn prompt(
    call: &CallContext,
    request: PromptRequest,
    stream_id: &str,
) -> Result<(Accepted, Option<impl Future<Output = ()> + Send + use<>>), Error> {
    let app = call.app();
    let cancel_on_disconnect = call.request().cancel_on_disconnect();
    let StartedTurn { turn, cancel_on_drop, raw_events: _ } =
        ops::prompt::prompt(app, call.caller(), request, cancel_on_disconnect).await?;
    let accepted = Accepted {
        conversation_id: turn.conversation.id().to_string(),
        session_id: turn.conversation.session_id().to_string(),
        turn_id: turn.id.to_string(),
        after_seq: turn.after,
    };
    let events = call.socket().cloned().map(|socket| {
        let until = StreamEnd::end_of(&turn);
        let reader = app.event_reader(&turn.conversation, turn.after, until, false);
        let counted = app.stream_guard();
        let stream_id = stream_id.to_owned();
        async move {
            send(&socket, &stream_id, reader).await;
            drop((cancel_on_drop, counted));
        }
    });
    Ok((accepted, events))
}

async fn interrupt(known: &ConversationRef) -> Result<Accepted, Error> {
    let turn_id = ops::turns::interrupt(known).await?.turn_id;
    Ok(accepted(known, turn_id, last_seq(known)))
}

async fn approve(
    call: &CallContext,
    known: &ConversationRef,
    answer: Answer,
) -> Result<Accepted, Error> {
    let turn_id = match known {
        ConversationRef::Live(conversation) => conversation.snapshot().turn_id,
        ConversationRef::Stored(..) => None,
    };
    let after_seq = last_seq(known);
    let (approval_id, answer) = answer.read()?;
    let approval_id =
        ApprovalId::try_from(approval_id).map_err(|error| error.at_field("approval_id"))?;
    ops::approvals::approve(call.app(), call.caller(), known.id(), approval_id, answer).await?;
    Ok(accepted(known, turn_id.map(|id| id.to_string()), after_seq))
}

fn accepted(known: &ConversationRef, turn_id: Option<String>, after_seq: Seq) -> Accepted {
    Accepted {
        conversation_id: known.id().to_string(),
        session_id: known.session_id().to_string(),
        turn_id: turn_id.unwrap_or_default(),
        after_seq,
    }
}

fn last_seq(known: &ConversationRef) -> Seq {
    match known {
        ConversationRef::Live(conversation) => conversation.log().last_seq(),
        ConversationRef::Stored(..) => 0,
    }
}

/// Sends the events of a turn as notifications.
async fn send(socket: &Socket, stream_id: &str, mut reader: EventReader) {
    while let Some(item) = reader.next().await {
        let events: Vec<Event> = match item {
            Item::Events(entries) => {
                entries.iter().filter_map(|entry| Event::from_line(&entry.line)).collect()
            }
            Item::Notice(notice) => {
                Event::from_line(notice.line().as_bytes()).into_iter().collect()
            }
            Item::Heartbeat => Vec::new(),
        };
        for event in events {
            let data = STANDARD.encode(event.encode_to_vec());
            let params = ProtoMessage { stream_id: stream_id.to_owned(), data };
            if socket.notify("proto.event", &params).await.is_err() {
                return;
            }
        }
    }
}
