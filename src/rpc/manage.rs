//! `conversation.start`, `list`, `resume`, `fork`, `archive`, `history`, `steer`, `compact`,
//! `rollback`, `review`, `approve`: what REST does under `/api/v1/conversations`.

use std::collections::BTreeMap;

use codex_gateway_engine::Review;
use codex_gateway_engine::approval::Answer;
use codex_gateway_engine::approval::Decision;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::call_context::CallContext;
use super::conversation::ConversationParams;
use crate::api::conversations;
pub(super) use crate::api::conversations::Archived;
pub(super) use crate::api::conversations::Document;
pub(super) use crate::api::conversations::List;
pub(super) use crate::api::conversations::Page;
pub(super) use crate::api::conversations::Start;
use crate::api::conversations::act;
pub(super) use crate::api::conversations::act::Ended;
pub(super) use crate::api::conversations::act::RolledBack;
pub(super) use crate::api::conversations::act::Steered;
use crate::api::conversations::look;
pub(super) use crate::api::conversations::look::Decided;
pub(super) use crate::api::conversations::look::History;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::error::Error;

/// The conversation that the params mean.
fn find(
    call: &CallContext,
    session_id: Option<String>,
    id: Option<String>,
) -> Result<ConversationRef, Error> {
    ConversationParams::new(session_id, id).require(call.app())
}

fn id_of(
    call: &CallContext,
    session_id: Option<String>,
    id: Option<String>,
) -> Result<ConversationId, Error> {
    Ok(find(call, session_id, id)?.id().clone())
}

pub(super) async fn start(call: &CallContext, start: Start) -> Result<Document, Error> {
    conversations::begin(call.app(), start, call.caller()).await
}

pub(super) async fn list(call: &CallContext, list: List) -> Result<Page, Error> {
    conversations::page(call.app(), &list)
}

pub(super) async fn resume(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Document, Error> {
    act::resume(call.app(), params.require(call.app())?.id(), call.caller()).await
}

pub(super) async fn archive(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Archived, Error> {
    conversations::put_away(call.app(), params.require(call.app())?.id()).await
}

pub(super) async fn history(
    call: &CallContext,
    params: ConversationParams,
) -> Result<History, Error> {
    look::past(call.app(), params.require(call.app())?.id()).await
}

pub(super) async fn compact(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Ended, Error> {
    act::compact(call.app(), params.require(call.app())?.id(), call.caller()).await
}

/// A conversation, and where a fork leaves it.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Fork {
    session_id: Option<String>,
    conversation_id: Option<String>,
    /// The last turn that the fork remembers; the last that has ended, unless it is told.
    after_turn: Option<String>,
    /// The name of the new conversation.
    new_session_id: Option<String>,
}

pub(super) async fn fork(call: &CallContext, fork: Fork) -> Result<Document, Error> {
    let Fork { session_id, conversation_id, after_turn, new_session_id } = fork;
    let id = id_of(call, session_id, conversation_id)?;
    act::fork(call.app(), &id, act::Fork { after_turn, new_session_id }).await
}

/// A conversation, and what is added to its running turn.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Steer {
    session_id: Option<String>,
    conversation_id: Option<String>,
    prompt: String,
    /// `data:image/…;base64,…` URIs.
    #[serde(default)]
    images: Vec<String>,
}

pub(super) async fn steer(call: &CallContext, steer: Steer) -> Result<Steered, Error> {
    let Steer { session_id, conversation_id, prompt, images } = steer;
    let id = id_of(call, session_id, conversation_id)?;
    act::steer(call.app(), &id, act::Steer { prompt, images }, call.caller()).await
}

/// A conversation, and how many of its turns are taken back.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Rollback {
    session_id: Option<String>,
    conversation_id: Option<String>,
    /// At least 1.
    turns: u32,
}

pub(super) async fn rollback(call: &CallContext, rollback: Rollback) -> Result<RolledBack, Error> {
    let Rollback { session_id, conversation_id, turns } = rollback;
    let id = id_of(call, session_id, conversation_id)?;
    act::rollback(call.app(), &id, act::Rollback { turns }, call.caller()).await
}

/// A conversation, and what is reviewed in it.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReviewParams {
    session_id: Option<String>,
    conversation_id: Option<String>,
    target: Review,
    /// The turn's time limit.
    timeout_ms: Option<u64>,
}

pub(super) async fn review(call: &CallContext, params: ReviewParams) -> Result<Ended, Error> {
    let ReviewParams { session_id, conversation_id, target, timeout_ms } = params;
    let id = id_of(call, session_id, conversation_id)?;
    act::review(call.app(), &id, act::ReviewRequest { target, timeout_ms }, call.caller()).await
}

/// A conversation, what it waits for, and the decision.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Approve {
    session_id: Option<String>,
    conversation_id: Option<String>,
    /// One of `pending_approvals` of the conversation.
    approval_id: String,
    decision: Decision,
    /// With `denied`: what the agent is told.
    reason: Option<String>,
    /// To `request_user_input`: for each question's id, the answers.
    #[serde(default)]
    answers: BTreeMap<String, Vec<String>>,
    /// To an elicitation: what its schema asks for.
    content: Option<Value>,
}

pub(super) async fn approve(call: &CallContext, approve: Approve) -> Result<Decided, Error> {
    let Approve { session_id, conversation_id, approval_id, decision, reason, answers, content } =
        approve;
    let id = id_of(call, session_id, conversation_id)?;
    let answer = Answer { decision, reason, answers, content };
    look::decide(call.app(), &id, &approval_id, answer, call.caller()).await
}
