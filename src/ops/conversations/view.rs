//! A conversation as clients see it.

use std::path::PathBuf;
use std::sync::Arc;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::protocol::TokenUsage;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::find;
use super::super::usage::TokenUsageSchema;
use crate::app::App;
use crate::bridge::call_log::CallRecord;
use crate::conversation::Activity;
use crate::conversation::ConversationRef;
use crate::conversation::ReducedSetting;
use crate::conversation::approvals::PendingApproval;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::text::rfc3339;

/// The number of model calls that are shown with a conversation.
const MODEL_CALLS: usize = 16;

/// A conversation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ConversationView {
    #[serde(flatten)]
    pub(crate) state: ConversationState,
    #[serde(flatten)]
    pub(crate) settings: ConversationSettings,
    /// The newest event.
    pub(crate) last_seq: Seq,
    /// The oldest event that is kept.
    pub(crate) oldest_seq: Seq,
    /// The approvals that the running turn waits for.
    pub(crate) pending_approvals: Vec<PendingApproval>,
}

/// A conversation's names, and what it is doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ConversationState {
    /// Codex's thread id.
    pub(crate) conversation_id: ConversationId,
    /// The name that the client chose, or a generated one.
    pub(crate) session_id: SessionId,
    /// `closed`: archived.
    pub(crate) status: Activity,
    /// The running turn.
    pub(crate) turn_id: Option<String>,
}

/// A conversation's model, folder and permissions, and what it has used.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ConversationSettings {
    pub(crate) model: String,
    pub(crate) model_provider: String,
    /// The folder that it works in.
    pub(crate) cwd: PathBuf,
    pub(crate) sandbox: Sandbox,
    pub(crate) approval_policy: Approval,
    /// Settings that the conversation began with and the operator does not permit any more; absent
    /// where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reduced_settings: Vec<ReducedSetting>,
    /// RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) created_at: String,
    /// RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) updated_at: String,
    /// Tokens of all turns together.
    #[schemars(with = "Option<TokenUsageSchema>")]
    pub(crate) usage: Option<TokenUsage>,
}

impl ConversationView {
    /// The present state of a conversation.
    pub(crate) fn new(known: &ConversationRef) -> Self {
        match known {
            ConversationRef::Live(conversation) => {
                let snapshot = conversation.snapshot();
                let defaults = conversation.defaults();
                Self {
                    state: ConversationState {
                        conversation_id: conversation.id().clone(),
                        session_id: conversation.session_id().clone(),
                        status: snapshot.activity,
                        turn_id: snapshot.turn_id.as_deref().map(str::to_owned),
                    },
                    settings: ConversationSettings {
                        model: snapshot.model,
                        model_provider: conversation.model_provider().to_owned(),
                        cwd: conversation.cwd().to_owned(),
                        sandbox: defaults.sandbox,
                        approval_policy: defaults.approval_policy,
                        reduced_settings: known.reduced().to_vec(),
                        created_at: rfc3339(conversation.created_at()),
                        updated_at: rfc3339(snapshot.updated_at),
                        usage: snapshot.usage,
                    },
                    last_seq: conversation.log().last_seq(),
                    oldest_seq: conversation.log().oldest_seq(),
                    pending_approvals: conversation.pending_approvals(),
                }
            }
            ConversationRef::Stored(record, _) => Self {
                state: ConversationState {
                    conversation_id: record.conversation_id.clone(),
                    session_id: record.session_id.clone(),
                    status: if record.archived { Activity::Closed } else { Activity::Idle },
                    turn_id: None,
                },
                settings: ConversationSettings {
                    model: record.defaults.model.clone(),
                    model_provider: record.model_provider.clone(),
                    cwd: record.cwd.clone(),
                    sandbox: record.defaults.sandbox,
                    approval_policy: record.defaults.approval_policy,
                    reduced_settings: known.reduced().to_vec(),
                    created_at: rfc3339(record.created_at),
                    updated_at: rfc3339(record.created_at),
                    usage: None,
                },
                last_seq: 0,
                oldest_seq: 1,
                pending_approvals: Vec::new(),
            },
        }
    }
}

/// A conversation and its newest model calls, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConversationDetail {
    #[serde(flatten)]
    view: ConversationView,
    model_calls: Vec<Arc<CallRecord>>,
}

/// Returns a conversation and its newest model calls.
///
/// # Errors
/// `NotFound`.
pub(crate) fn show(
    app: &App,
    caller: &str,
    id: &ConversationId,
) -> Result<ConversationDetail, Error> {
    let view = ConversationView::new(&find(app, caller, id)?);
    let model_calls = app.model_calls().recent(id.as_str(), MODEL_CALLS);
    Ok(ConversationDetail { view, model_calls })
}
