//! `conversation.subscribe`, `conversation.unsubscribe`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::call_context::CallContext;
use super::conversation::ConversationParams;
use super::conversation::InConversation;
use super::reply::Reply;
use super::subscriber;
use super::subscriber::SubscribeOptions;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::input::joined::Joined;
use crate::input::whole::Count;
use crate::ops::events;

/// Which events of a conversation to send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscribeRequest {
    /// The newest event that the client has; default 0, for all that are kept.
    after_seq: Option<Count>,
    /// Whether to send deltas, whose text a later event repeats; default true.
    #[serde(default = "yes")]
    include_deltas: bool,
    /// Whether to send `raw_response_*` events too, where the operator permits it.
    #[serde(default)]
    raw_events: bool,
}

fn yes() -> bool {
    true
}

/// The subscription is active; `conversation.event` notifications follow.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Subscribed {
    subscribed: bool,
    session_id: SessionId,
    conversation_id: ConversationId,
    /// The newest event at this moment.
    last_seq: Seq,
    /// The oldest event that is kept.
    oldest_seq: Seq,
}

pub(super) async fn subscribe(
    call: &CallContext,
    Joined(named, request): InConversation<SubscribeRequest>,
) -> Result<Reply<Subscribed>, Error> {
    let socket = call.require_socket()?;
    let app = call.app();
    let (after, raw) = (request.after_seq.map_or(0, Count::get), request.raw_events);
    let conversation = events::subscribe(app, named.require(call)?, after, raw)?;
    let last_seq = conversation.log().last_seq();
    let options = SubscribeOptions { after, deltas: request.include_deltas, raw };
    let events = subscriber::subscribe(socket, app, &conversation, options)?;
    let subscribed = Subscribed {
        subscribed: true,
        session_id: conversation.session_id().clone(),
        conversation_id: conversation.id().clone(),
        last_seq,
        oldest_seq: conversation.log().oldest_seq(),
    };
    Ok(Reply::from(subscribed).then(events))
}

/// The subscription has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Unsubscribed {
    /// Whether there was one.
    unsubscribed: bool,
    conversation_id: ConversationId,
}

pub(super) async fn unsubscribe(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Unsubscribed, Error> {
    let socket = call.require_socket()?;
    let known = params.require(call)?;
    let id = known.id();
    Ok(Unsubscribed { unsubscribed: socket.end_subscription(id), conversation_id: id.clone() })
}
