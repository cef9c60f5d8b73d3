//! `conversation.start`, `list`, `resume`, `fork`, `archive`, `history`, `steer`, `compact`,
//! `rollback`, `review`, `approve`: the use cases of `/api/v1/conversations`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::call_context::CallContext;
use super::conversation::ConversationParams;
use super::conversation::InConversation;
use crate::conversation::id::ApprovalId;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::input::joined::Joined;
use crate::input::joined::Listed;
use crate::ops;
pub(super) use crate::ops::approvals::Answer;
pub(super) use crate::ops::approvals::Decided;
pub(super) use crate::ops::conversations::Archived;
pub(super) use crate::ops::conversations::ConversationPage;
pub(super) use crate::ops::conversations::ConversationView;
pub(super) use crate::ops::conversations::ForkRequest;
pub(super) use crate::ops::conversations::ListRequest;
pub(super) use crate::ops::conversations::StartRequest;
pub(super) use crate::ops::history::History;
pub(super) use crate::ops::history::HistoryRequest;
pub(super) use crate::ops::turns::ReviewRequest;
pub(super) use crate::ops::turns::RollbackRequest;
pub(super) use crate::ops::turns::RolledBack;
pub(super) use crate::ops::turns::SteerRequest;
pub(super) use crate::ops::turns::Steered;
pub(super) use crate::ops::turns::TurnOutcome;

fn id_of(call: &CallContext, params: &ConversationParams) -> Result<ConversationId, Error> {
    Ok(params.require(call)?.id().clone())
}

pub(super) async fn start(
    call: &CallContext,
    start: StartRequest,
) -> Result<ConversationView, Error> {
    Ok(ops::conversations::start(call.app(), call.caller(), start).await?.0)
}

pub(super) async fn list(call: &CallContext, list: ListRequest) -> Result<ConversationPage, Error> {
    ops::conversations::list(call.app(), call.caller(), &list)
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
    ops::conversations::archive(call.app(), call.caller(), id_of(call, &params)?).await
}

pub(super) async fn history(
    call: &CallContext,
    Joined(params, request): InConversation<HistoryRequest>,
) -> Result<History, Error> {
    ops::history::history(call.app(), call.caller(), &id_of(call, &params)?, request).await
}

pub(super) async fn compact(
    call: &CallContext,
    params: ConversationParams,
) -> Result<TurnOutcome, Error> {
    ops::turns::compact(call.app(), call.caller(), id_of(call, &params)?).await
}

pub(super) async fn fork(
    call: &CallContext,
    Joined(params, request): InConversation<ForkRequest>,
) -> Result<ConversationView, Error> {
    ops::conversations::fork(call.app(), call.caller(), &id_of(call, &params)?, request).await
}

pub(super) async fn steer(
    call: &CallContext,
    Joined(params, request): InConversation<SteerRequest>,
) -> Result<Steered, Error> {
    ops::turns::steer(call.app(), call.caller(), &id_of(call, &params)?, request).await
}

pub(super) async fn rollback(
    call: &CallContext,
    Joined(params, request): InConversation<RollbackRequest>,
) -> Result<RolledBack, Error> {
    ops::turns::rollback(call.app(), call.caller(), id_of(call, &params)?, request).await
}

pub(super) async fn review(
    call: &CallContext,
    Joined(params, request): InConversation<ReviewRequest>,
) -> Result<TurnOutcome, Error> {
    ops::turns::review(call.app(), call.caller(), id_of(call, &params)?, request).await
}

/// A pending approval.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PendingParams {
    /// One of `pending_approvals` of the conversation.
    approval_id: ApprovalId,
}

impl Listed for PendingParams {
    const MEMBERS: &'static [&'static str] = &["approval_id"];
}

/// A pending approval and the decision.
pub(super) type ApproveRequest = Joined<PendingParams, Answer>;

pub(super) async fn approve(
    call: &CallContext,
    Joined(params, Joined(pending, answer)): InConversation<ApproveRequest>,
) -> Result<Decided, Error> {
    let (id, approval_id) = (id_of(call, &params)?, pending.approval_id);
    ops::approvals::approve(call.app(), call.caller(), &id, approval_id, answer).await
}
