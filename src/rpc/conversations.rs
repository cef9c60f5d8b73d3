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
pub(super) use crate::ops::conversations::ConversationPage;
pub(super) use crate::ops::conversations::ConversationView;
pub(super) use crate::ops::conversations::ListRequest;
pub(super) use crate::ops::conversations::StartRequest;
pub(super) use crate::ops::history::History;
use crate::ops::history::HistoryRequest;
use crate::ops::integer;
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

pub(super) async fn start(
    call: &CallContext,
    start: StartRequest,
) -> Result<ConversationView, Error> {
    ops::conversations::start(call.app(), call.caller(), start).await
}

pub(super) async fn list(call: &CallContext, list: ListRequest) -> Result<ConversationPage, Error> {
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

/// A conversation, and which of its recorded turns to return.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct HistoryParams {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The size of the page; default 100.
    #[serde(default, deserialize_with = "integer::optional")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    limit: Option<u32>,
}

pub(super) async fn history(call: &CallContext, params: HistoryParams) -> Result<History, Error> {
    let HistoryParams { session_id, conversation_id, cursor, limit } = params;
    let id = find(call, session_id, conversation_id)?;
    ops::history::history(call.app(), &id, HistoryRequest { cursor, limit }).await
}

pub(super) async fn compact(
    call: &CallContext,
    params: ConversationParams,
) -> Result<TurnOutcome, Error> {
    ops::turns::compact(call.app(), call.caller(), id_of(call, &params)?).await
}

/// A conversation and where a fork leaves it.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ForkParams {
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

pub(super) async fn fork(
    call: &CallContext,
    params: ForkParams,
) -> Result<ConversationView, Error> {
    let ForkParams { session_id, conversation_id, after_turn, new_session_id } = params;
    let id = find(call, session_id, conversation_id)?;
    let fork = ops::conversations::ForkRequest { after_turn, new_session_id };
    ops::conversations::fork(call.app(), &id, fork).await
}

/// A conversation and what to add to its running turn.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct SteerParams {
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

pub(super) async fn steer(call: &CallContext, params: SteerParams) -> Result<Steered, Error> {
    let SteerParams { session_id, conversation_id, prompt, images } = params;
    let id = find(call, session_id, conversation_id)?;
    let steer = ops::turns::SteerRequest { prompt, images };
    ops::turns::steer(call.app(), call.caller(), &id, steer).await
}

/// A conversation and how many of its turns to remove.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct RollbackParams {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
    /// At least 1.
    #[serde(deserialize_with = "integer::required")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    turns: u32,
}

pub(super) async fn rollback(
    call: &CallContext,
    params: RollbackParams,
) -> Result<RolledBack, Error> {
    let RollbackParams { session_id, conversation_id, turns } = params;
    let id = find(call, session_id, conversation_id)?;
    ops::turns::rollback(call.app(), call.caller(), id, ops::turns::RollbackRequest { turns }).await
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
    #[serde(default, deserialize_with = "integer::optional")]
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
pub(super) struct ApproveParams {
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

pub(super) async fn approve(call: &CallContext, params: ApproveParams) -> Result<Decided, Error> {
    let ApproveParams {
        session_id,
        conversation_id,
        approval_id,
        decision,
        reason,
        answers,
        content,
    } = params;
    let id = find(call, session_id, conversation_id)?;
    let answer = Answer { decision, reason, answers, content };
    ops::approvals::approve(call.app(), call.caller(), &id, approval_id, answer).await
}
