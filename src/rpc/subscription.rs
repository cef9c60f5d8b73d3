//! `conversation.subscribe`, `conversation.unsubscribe`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::call_context::CallContext;
use super::conversation::ConversationParams;
use super::reply::Reply;
use super::subscriber;
use super::subscriber::SubscribeOptions;
use crate::api::prompt::allow_raw_events;
use crate::conversation::ConversationRef;
use crate::conversation::id::Seq;
use crate::error::Error;
use crate::error::Kind;

/// Which events of which conversation.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Subscribe {
    session_id: Option<String>,
    conversation_id: Option<String>,
    /// The newest event that the client has; 0, the default, for all that are kept.
    #[serde(default)]
    after_seq: Seq,
    /// Also the pieces of what a later event holds whole.
    #[serde(default = "yes")]
    include_deltas: bool,
    /// Also `raw_response_*` events, where the operator allows it.
    #[serde(default)]
    raw_events: bool,
}

fn yes() -> bool {
    true
}

/// The subscription stands; `conversation.event` notifications follow.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Subscribed {
    subscribed: bool,
    session_id: String,
    conversation_id: String,
    /// The newest event at this moment.
    last_seq: Seq,
    /// The oldest event that is kept.
    oldest_seq: Seq,
}

pub(super) async fn subscribe(
    call: &CallContext,
    params: Subscribe,
) -> Result<Reply<Subscribed>, Error> {
    let socket = call.require_socket()?;
    let app = call.app();
    allow_raw_events(app.config(), params.raw_events)?;
    let named = ConversationParams::new(params.session_id, params.conversation_id);
    let conversation = match named.require(app)? {
        ConversationRef::Live(conversation) => conversation,
        ConversationRef::Stored(_) => {
            return Err(Error::new(
                Kind::Gone { oldest_seq: 1 },
                "the conversation rests on disk: expected a prompt or conversation.resume first, which \
                 takes it up again and numbers its events from 1",
            ));
        }
    };
    let last_seq = conversation.log().last_seq();
    if params.after_seq > last_seq {
        return Err(Error::invalid(format!(
            "after_seq: expected the seq of an event, at most {last_seq}, got {}",
            params.after_seq
        )));
    }
    let options = SubscribeOptions {
        after: params.after_seq,
        deltas: params.include_deltas,
        raw: params.raw_events,
    };
    let events = subscriber::subscribe(socket, app, &conversation, options)?;
    let subscribed = Subscribed {
        subscribed: true,
        session_id: conversation.session_id().to_string(),
        conversation_id: conversation.id().to_string(),
        last_seq,
        oldest_seq: conversation.log().oldest_seq(),
    };
    Ok(Reply::from(subscribed).then(events))
}

/// Which conversation.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Unsubscribe {
    session_id: Option<String>,
    conversation_id: Option<String>,
}

/// The subscription has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Unsubscribed {
    /// Whether there was one.
    unsubscribed: bool,
    conversation_id: String,
}

pub(super) async fn unsubscribe(
    call: &CallContext,
    params: Unsubscribe,
) -> Result<Unsubscribed, Error> {
    let socket = call.require_socket()?;
    let known =
        ConversationParams::new(params.session_id, params.conversation_id).require(call.app())?;
    let id = known.id();
    Ok(Unsubscribed { unsubscribed: socket.end_subscription(id), conversation_id: id.to_string() })
}
