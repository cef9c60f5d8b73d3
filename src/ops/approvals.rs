//! What a running turn asks, and the decisions.

use std::sync::Arc;

pub(crate) use codex_gateway_engine::approval::Answer;
use codex_gateway_engine::approval::Decision;
use schemars::JsonSchema;
use serde::Serialize;

use super::find;
use crate::access::approvals::may_approve;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::approvals::PendingApproval;
use crate::conversation::id::ApprovalId;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

/// The approvals that the running turn of a conversation waits for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Approvals {
    conversation_id: ConversationId,
    /// Oldest first.
    approvals: Vec<PendingApproval>,
}

/// Lists what the running turn asks, oldest first.
///
/// # Errors
/// `NotFound`.
pub(crate) fn approvals(app: &App, caller: &str, id: &ConversationId) -> Result<Approvals, Error> {
    let approvals = match find(app, caller, id)? {
        ConversationRef::Live(conversation) => conversation.pending_approvals(),
        ConversationRef::Stored(..) => Vec::new(),
    };
    Ok(Approvals { conversation_id: id.clone(), approvals })
}

/// The decision reached the agent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Decided {
    decided: bool,
    conversation_id: ConversationId,
    approval_id: ApprovalId,
    decision: Decision,
}

/// Decides what the running turn asks; the turn goes on.
///
/// # Errors
/// `NotFound` where no such approval is pending; `InvalidRequest` where the answer does not fit;
/// `Forbidden` where the caller may not approve, or the approval would give the agent too much;
/// propagates `EngineError`.
pub(crate) async fn approve(
    app: &Arc<App>,
    caller: &str,
    id: &ConversationId,
    approval_id: ApprovalId,
    answer: Answer,
) -> Result<Decided, Error> {
    let decision = answer.decision;
    let ConversationRef::Live(conversation) = find(app, caller, id)? else {
        return Err(Error::new(
            Kind::NotFound,
            format!("approval_id: no approval is pending, got {}", excerpt(approval_id.as_str())),
        ));
    };
    let rules = app.config().approvals;
    if decision.approves() && !conversation.is_question(approval_id.as_str()) {
        may_approve(rules, caller, conversation.owner())?;
    }
    let (caller, approval) = (caller.to_owned(), approval_id.clone());
    let deciding = app.detached(move |_| async move {
        conversation.answer(approval.as_str(), answer, &caller, rules.outside_workspace).await
    });
    deciding.await?;
    Ok(Decided { decided: true, conversation_id: id.clone(), approval_id, decision })
}
