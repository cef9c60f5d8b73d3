//! `conversation.status`, `conversation.cancel`, and the params that name a conversation.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::call_context::CallContext;
use crate::conversation::ConversationRef;
use crate::conversation::approvals::PendingApproval;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::id::Seq;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::error::Kind;
use crate::input::joined::Joined;
use crate::input::joined::Listed;
use crate::ops;
use crate::ops::conversations::ConversationSettings;
use crate::ops::conversations::ConversationState;
use crate::ops::conversations::ConversationView;
pub(super) use crate::ops::turns::Cancelled;

/// The names of a conversation; one is enough.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [
    { "required": ["session_id"], "properties": { "session_id": { "type": "string" } } },
    { "required": ["conversation_id"], "properties": { "conversation_id": { "type": "string" } } },
]))]
pub(super) struct ConversationParams {
    /// This or `conversation_id` is required.
    session_id: Option<SessionId>,
    /// This or `session_id` is required.
    #[serde(alias = "conversationId")]
    conversation_id: Option<ConversationId>,
}

impl Listed for ConversationParams {
    const MEMBERS: &'static [&'static str] = &["session_id", "conversation_id", "conversationId"];
}

/// The names of a conversation and a method's own members.
pub(super) type InConversation<T> = Joined<ConversationParams, T>;

/// The names of a conversation, both of which may be left out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PerhapsConversation {
    session_id: Option<SessionId>,
    #[serde(alias = "conversationId")]
    conversation_id: Option<ConversationId>,
}

impl Listed for PerhapsConversation {
    const MEMBERS: &'static [&'static str] = ConversationParams::MEMBERS;
}

impl PerhapsConversation {
    /// Finds the conversation, if one is named.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn find(self, call: &CallContext) -> Result<Option<ConversationRef>, Error> {
        let Self { session_id, conversation_id } = self;
        if session_id.is_none() && conversation_id.is_none() {
            return Ok(None);
        }
        ConversationParams { session_id, conversation_id }.require(call).map(Some)
    }
}

impl ConversationParams {
    pub(super) fn new(
        session_id: Option<SessionId>,
        conversation_id: Option<ConversationId>,
    ) -> Self {
        Self { session_id, conversation_id }
    }

    fn key(&self) -> Result<ConversationKey, Error> {
        let Self { session_id, conversation_id } = self.clone();
        if session_id.is_none() && conversation_id.is_none() {
            return Err(Error::invalid("expected session_id or conversation_id, got neither"));
        }
        Ok(ConversationKey { session_id, conversation_id })
    }

    /// Finds the conversation.
    ///
    /// # Errors
    /// `InvalidRequest` without a name; `NotFound`, also if it belongs to another caller.
    pub(super) fn require(&self, call: &CallContext) -> Result<ConversationRef, Error> {
        call.app().conversations().find(call.caller(), &self.key()?).ok_or_else(|| {
            let (id, session) = (&self.conversation_id, &self.session_id);
            let name = id.as_ref().map(ConversationId::as_str);
            let name = name.or(session.as_ref().map(SessionId::as_str)).unwrap_or_default();
            Error::new(Kind::NotFound, format!("no conversation is known as {name}"))
        })
    }

    /// Finds the conversation, or returns the result for an unknown one: clients call to learn
    /// whether a session exists.
    fn find(self, call: &CallContext) -> Result<Result<ConversationRef, NotFound>, Error> {
        let found = call.app().conversations().find(call.caller(), &self.key()?);
        Ok(found.ok_or(NotFound {
            status: "not_found",
            session_id: self.session_id,
            conversation_id: self.conversation_id,
        }))
    }
}

/// A result about a conversation that may be unknown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Found<T> {
    Known(T),
    NotFound(NotFound),
}

/// No conversation has this name.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct NotFound {
    #[schemars(extend("const" = "not_found"))]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<ConversationId>,
}

/// The state of a conversation.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConversationStatus {
    #[serde(flatten)]
    state: ConversationState,
    /// The newest event.
    last_seq: Seq,
    metadata: Metadata,
}

/// The other members of `GET /api/v1/conversations/{id}`.
#[derive(Debug, Serialize, JsonSchema)]
struct Metadata {
    #[serde(flatten)]
    settings: ConversationSettings,
    /// The oldest event that is kept.
    oldest_seq: Seq,
    /// The approvals that the running turn waits for.
    pending_approvals: Vec<PendingApproval>,
}

pub(super) async fn status(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Found<ConversationStatus>, Error> {
    let known = match params.find(call)? {
        Ok(known) => known,
        Err(not_found) => return Ok(Found::NotFound(not_found)),
    };
    let ConversationView { state, settings, last_seq, oldest_seq, pending_approvals } =
        ConversationView::new(&known);
    let metadata = Metadata { settings, oldest_seq, pending_approvals };
    Ok(Found::Known(ConversationStatus { state, last_seq, metadata }))
}

pub(super) async fn cancel(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Found<Cancelled>, Error> {
    match params.find(call)? {
        Ok(known) => Ok(Found::Known(ops::turns::interrupt(&known).await?)),
        Err(not_found) => Ok(Found::NotFound(not_found)),
    }
}
