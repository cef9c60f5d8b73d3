//! `conversation.start`, `list`, `resume`, `fork`, `archive`, `history`, `steer`, `compact`,
//! `rollback`, `review`, `approve`: the use cases of `/api/v1/conversations`.

use std::collections::BTreeMap;

use codex_gateway_engine::Review;
use codex_gateway_engine::approval::Answer;
use codex_gateway_engine::approval::Decision;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::call_context::CallContext;
use super::conversation::ConversationParams;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::ops;
pub(super) use crate::ops::approvals::Decided;
pub(super) use crate::ops::conversations::Archived;
pub(super) use crate::ops::conversations::ConversationView;
pub(super) use crate::ops::conversations::List;
pub(super) use crate::ops::conversations::Page;
pub(super) use crate::ops::conversations::Start;
pub(super) use crate::ops::history::History;
pub(super) use crate::ops::turns::RolledBack;
pub(super) use crate::ops::turns::Steered;
pub(super) use crate::ops::turns::TurnOutcome;

/// Finds the conversation that the params name.
fn find(
    call: &CallContext,
    session_id: Option<String>,
    conversation_id: Option<String>,
) -> Result<ConversationId, Error> {
    id_of(call, &ConversationParams::new(session_id, conversation_id))
}

fn id_of(call: &CallContext, params: &ConversationParams) -> Result<ConversationId, Error> {
    Ok(params.require(call.app())?.id().clone())
}

pub(super) async fn start(call: &CallContext, start: Start) -> Result<ConversationView, Error> {
    ops::conversations::start(call.app(), call.caller(), start).await
}

pub(super) async fn list(call: &CallContext, list: List) -> Result<Page, Error> {
    ops::conversations::list(call.app(), &list)
}

pub(super) async fn resume(
    call: &CallContext,
    params: ConversationParams,
) -> Result<ConversationView, Error> {
    ops::conversations::resume(call.app(), call.caller(), id_of(call, &params)?).await
}

pub(super) async fn archive(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Archived, Error> {
    ops::conversations::archive(call.app(), id_of(call, &params)?).await
}

pub(super) async fn history(
    call: &CallContext,
    params: ConversationParams,
) -> Result<History, Error> {
    ops::history::history(call.app(), &id_of(call, &params)?).await
}

pub(super) async fn compact(
    call: &CallContext,
    params: ConversationParams,
) -> Result<TurnOutcome, Error> {
    ops::turns::compact(call.app(), call.caller(), id_of(call, &params)?).await
}

/// A conversation and where a fork leaves it.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Fork {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
    /// The last turn that the fork remembers; default: the last that has ended.
    after_turn: Option<String>,
    /// The name of the new conversation.
    #[schemars(with = "Option<SessionId>")]
    new_session_id: Option<String>,
}

pub(super) async fn fork(call: &CallContext, fork: Fork) -> Result<ConversationView, Error> {
    let Fork { session_id, conversation_id, after_turn, new_session_id } = fork;
    let id = find(call, session_id, conversation_id)?;
    let fork = ops::conversations::Fork { after_turn, new_session_id };
    ops::conversations::fork(call.app(), &id, fork).await
}

/// A conversation and what to add to its running turn.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Steer {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
    /// Not blank.
    #[schemars(length(min = 1), regex(pattern = r"\S"))]
    prompt: String,
    /// `data:image/…;base64,…` URIs.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^data:image/")))]
    images: Vec<String>,
}

pub(super) async fn steer(call: &CallContext, steer: Steer) -> Result<Steered, Error> {
    let Steer { session_id, conversation_id, prompt, images } = steer;
    let id = find(call, session_id, conversation_id)?;
    let steer = ops::turns::Steer { prompt, images };
    ops::turns::steer(call.app(), call.caller(), &id, steer).await
}

/// A conversation and how many of its turns to remove.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Rollback {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
    /// At least 1.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    turns: u32,
}

pub(super) async fn rollback(call: &CallContext, rollback: Rollback) -> Result<RolledBack, Error> {
    let Rollback { session_id, conversation_id, turns } = rollback;
    let id = find(call, session_id, conversation_id)?;
    ops::turns::rollback(call.app(), call.caller(), id, ops::turns::Rollback { turns }).await
}

/// A conversation and what to review in it.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReviewParams {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
    target: Review,
    /// The turn's time limit.
    #[schemars(range(min = 1000, max = 3_600_000))]
    timeout_ms: Option<u64>,
}

pub(super) async fn review(call: &CallContext, params: ReviewParams) -> Result<TurnOutcome, Error> {
    let ReviewParams { session_id, conversation_id, target, timeout_ms } = params;
    let id = find(call, session_id, conversation_id)?;
    let request = ops::turns::ReviewRequest { target, timeout_ms };
    ops::turns::review(call.app(), call.caller(), id, request).await
}

/// A conversation, a pending approval of it and the decision.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Approve {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
    /// One of `pending_approvals` of the conversation.
    approval_id: String,
    decision: Decision,
    /// With `denied`: the reason for the agent.
    reason: Option<String>,
    /// For `request_user_input`: the answers, by question id.
    #[serde(default)]
    answers: BTreeMap<String, Vec<String>>,
    /// For an elicitation: the object that its schema describes.
    content: Option<Value>,
}

pub(super) async fn approve(call: &CallContext, approve: Approve) -> Result<Decided, Error> {
    let Approve { session_id, conversation_id, approval_id, decision, reason, answers, content } =
        approve;
    let id = find(call, session_id, conversation_id)?;
    let answer = Answer { decision, reason, answers, content };
    ops::approvals::approve(call.app(), call.caller(), &id, approval_id, answer).await
}
