//! Conversations: show, list, start, archive, resume, fork.

use std::path::PathBuf;
use std::sync::Arc;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::protocol::TokenUsage;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::find;
use super::integer;
use super::policy;
use super::prompt;
use super::prompt::PromptRequest;
use super::prompt::choose_model;
use super::usage::TokenUsageSchema;
use crate::app::App;
use crate::bridge::call_log::CallRecord;
use crate::conversation::Activity;
use crate::conversation::ConversationRef;
use crate::conversation::StartOptions;
use crate::conversation::approvals::PendingApproval;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::id::Seq;
use crate::conversation::id::SessionId;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::error::Error;
use crate::text::rfc3339;

/// The size of a page.
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;
/// The number of conversations that are read at a time.
const BATCH: usize = 100;
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
    /// What the running turn waits for.
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
                        created_at: rfc3339(conversation.created_at()),
                        updated_at: rfc3339(snapshot.updated_at),
                        usage: snapshot.usage,
                    },
                    last_seq: conversation.log().last_seq(),
                    oldest_seq: conversation.log().oldest_seq(),
                    pending_approvals: conversation.pending_approvals(),
                }
            }
            ConversationRef::Stored(record) => Self {
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
pub(crate) fn show(app: &App, id: &ConversationId) -> Result<ConversationDetail, Error> {
    let view = ConversationView::new(&find(app, id)?);
    let model_calls = app.model_calls().recent(id.as_str(), MODEL_CALLS);
    Ok(ConversationDetail { view, model_calls })
}

/// Which conversations to list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ListRequest {
    /// `next_cursor` of the page before.
    #[schemars(with = "Option<ConversationId>")]
    cursor: Option<String>,
    /// The size of the page; default 20.
    #[serde(default, deserialize_with = "integer::optional")]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    limit: Option<u32>,
    /// Only those in this state. Default: all but those that are archived (`closed`).
    status: Option<Activity>,
}

/// A page of conversations, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConversationPage {
    conversations: Vec<ConversationView>,
    /// The cursor of the next page; null on the last.
    next_cursor: Option<ConversationId>,
}

/// Lists conversations, newest first, a page at a time.
///
/// # Errors
/// `InvalidRequest` for a limit out of range, or a malformed cursor.
pub(crate) fn list(app: &App, list: &ListRequest) -> Result<ConversationPage, Error> {
    let limit = list.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Error::invalid(format!("limit: expected 1 to {MAX_PAGE}, got {limit}")));
    }
    let cursor = list.cursor.as_deref().map(ConversationId::parse).transpose();
    let mut before =
        cursor.map_err(|_| Error::invalid("cursor: expected next_cursor of a page"))?;
    let mut page = ConversationPage { conversations: Vec::new(), next_cursor: None };
    loop {
        let found = app.conversations().newest_first(before.as_ref(), BATCH);
        let last = found.len() < BATCH;
        for known in &found {
            let view = ConversationView::new(known);
            let listed = match list.status {
                Some(status) => view.state.status == status,
                None => view.state.status != Activity::Closed,
            };
            if !listed {
                continue;
            }
            if page.conversations.len() == limit as usize {
                let last = page.conversations.last();
                page.next_cursor = last.map(|last| last.state.conversation_id.clone());
                return Ok(page);
            }
            page.conversations.push(view);
        }
        if last {
            return Ok(page);
        }
        before = found.last().map(|last| last.id().clone());
    }
}

/// How a new conversation starts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct StartRequest {
    /// A name that the client chooses. A known one returns its conversation as it is.
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    /// A model, or an alias from `[gateway.models]`.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"\S"))]
    model: Option<String>,
    #[schemars(length(min = 1, max = 256), regex(pattern = r"\S"))]
    model_provider: Option<String>,
    /// A folder inside the workspace root.
    #[schemars(length(min = 1))]
    cwd: Option<String>,
    /// What commands may touch; read-only or workspace-write unless the operator permits more.
    sandbox: Option<Sandbox>,
    /// When the agent asks before it acts; `never` unless the operator permits more.
    approval_policy: Option<Approval>,
    /// A first prompt: its turn is started and not waited for.
    #[schemars(length(min = 1), regex(pattern = r"\S"))]
    prompt: Option<String>,
    /// The time limit of that turn.
    #[serde(default, deserialize_with = "integer::optional")]
    #[schemars(range(min = 1000, max = 3_600_000))]
    timeout_ms: Option<u64>,
}

/// Starts a conversation, or returns the one that has the session's name.
///
/// # Errors
/// As of [`prompt::prompt`].
pub(crate) async fn start(
    app: &Arc<App>,
    caller: &str,
    start: StartRequest,
) -> Result<ConversationView, Error> {
    if start.prompt.is_some() {
        let started = prompt::prompt(app, caller, start.into(), false).await?;
        return Ok(ConversationView::new(&ConversationRef::Live(started.turn.conversation)));
    }
    policy::allow_sandbox(app.config(), start.sandbox)?;
    policy::allow_approvals(app.config(), start.approval_policy)?;
    prompt::time_limit(start.timeout_ms, &TIMEOUT_RANGE_MS)?;
    let key = ConversationKey::parse(start.session_id.as_deref(), None)?;
    let options = StartOptions {
        cwd: start.cwd,
        model: choose_model(app.config(), start.model, start.model_provider)?,
        sandbox: start.sandbox,
        approval_policy: start.approval_policy,
        ..StartOptions::new(caller)
    };
    let opening = app.detached(|app| async move { app.conversations().open(&key, &options).await });
    Ok(ConversationView::new(&ConversationRef::Live(opening.await?)))
}

impl From<StartRequest> for PromptRequest {
    fn from(start: StartRequest) -> Self {
        Self {
            prompt: start.prompt.unwrap_or_default(),
            session_id: start.session_id,
            model: start.model,
            model_provider: start.model_provider,
            timeout_ms: start.timeout_ms,
            cwd: start.cwd,
            sandbox: start.sandbox,
            approval_policy: start.approval_policy,
            ..Self::default()
        }
    }
}

/// The conversation is archived.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Archived {
    archived: bool,
    conversation_id: ConversationId,
}

/// Ends a conversation and archives it.
///
/// # Errors
/// `NotFound`; the archive cannot be written.
pub(crate) async fn archive(app: &Arc<App>, id: ConversationId) -> Result<Archived, Error> {
    let conversation_id = id.clone();
    app.detached(|app| async move { app.conversations().archive(&id).await }).await?;
    Ok(Archived { archived: true, conversation_id })
}

/// Loads a conversation from disk, also out of the archive.
///
/// # Errors
/// As of [`Registry::unarchive`](crate::conversation::registry::Registry::unarchive).
pub(crate) async fn resume(
    app: &Arc<App>,
    caller: &str,
    id: ConversationId,
) -> Result<ConversationView, Error> {
    let caller = caller.to_owned();
    let resuming =
        app.detached(|app| async move { app.conversations().unarchive(&id, &caller).await });
    Ok(ConversationView::new(&ConversationRef::Live(resuming.await?)))
}

/// Where a fork leaves its conversation.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ForkRequest {
    /// The last turn that the fork remembers; default: the last that has ended.
    pub(crate) after_turn: Option<String>,
    /// The name of the new conversation.
    #[schemars(with = "Option<SessionId>")]
    pub(crate) new_session_id: Option<String>,
}

/// Starts another conversation with the history of this one.
///
/// # Errors
/// As of [`Registry::fork`](crate::conversation::registry::Registry::fork).
pub(crate) async fn fork(
    app: &Arc<App>,
    id: &ConversationId,
    fork: ForkRequest,
) -> Result<ConversationView, Error> {
    let source = find(app, id)?;
    let session_id = fork.new_session_id.as_deref().map(SessionId::parse).transpose()?;
    let forking = app.detached(|app| async move {
        app.conversations().fork(&source, fork.after_turn, session_id).await
    });
    Ok(ConversationView::new(&ConversationRef::Live(forking.await?)))
}
