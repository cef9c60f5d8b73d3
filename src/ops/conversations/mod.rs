//! Conversations: start, archive, resume, fork; [`view`] shows one, [`list`] lists them.

mod list;
mod view;

use std::sync::Arc;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

pub(crate) use self::list::ConversationPage;
pub(crate) use self::list::ListRequest;
pub(crate) use self::list::list;
pub(crate) use self::view::ConversationDetail;
pub(crate) use self::view::ConversationSettings;
pub(crate) use self::view::ConversationState;
pub(crate) use self::view::ConversationView;
pub(crate) use self::view::show;
use super::find;
use super::policy;
use super::prompt;
use super::prompt::PromptRequest;
use super::prompt::choose_model;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::IfBusy;
use crate::conversation::StartOptions;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::id::SessionId;
use crate::conversation::limits::TurnTimeout;
use crate::error::Error;
use crate::input::path::FolderPath;
use crate::input::text::ModelName;
use crate::input::text::SomeText;

/// How a new conversation starts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRequest {
    /// A name that the client chooses. A known one returns its conversation.
    session_id: Option<SessionId>,
    /// A model, or an alias from `[gateway.models]`.
    model: Option<ModelName>,
    #[serde(alias = "modelProvider")]
    model_provider: Option<ModelName>,
    /// A folder inside the workspace root.
    cwd: Option<FolderPath>,
    /// The sandbox of commands: read-only or workspace-write, unless the operator permits more.
    #[serde(alias = "sandbox_mode", alias = "sandboxMode")]
    sandbox: Option<Sandbox>,
    /// When the agent asks before it acts; `never` unless the operator permits more.
    #[serde(alias = "approvalPolicy")]
    approval_policy: Option<Approval>,
    /// A first prompt: its turn is started and not waited for.
    prompt: Option<SomeText>,
    /// The time limit of that turn in milliseconds.
    timeout_ms: Option<TurnTimeout>,
    /// The handling of the prompt while a turn runs.
    #[serde(default)]
    if_busy: IfBusy,
}

/// Starts a conversation, or returns the one that has the session's name, and whether it is new.
///
/// # Errors
/// As of [`prompt::prompt`]; without a prompt, whose settings are its turn's own, `InvalidRequest`
/// where the conversation has other settings.
pub(crate) async fn start(
    app: &Arc<App>,
    caller: &str,
    start: StartRequest,
) -> Result<(ConversationView, bool), Error> {
    let key = ConversationKey { session_id: start.session_id.clone(), conversation_id: None };
    if let Some(text) = start.prompt {
        let was_there = is_open(app, caller, &key);
        let request = PromptRequest {
            prompt: text,
            session_id: start.session_id,
            conversation_id: None,
            model: start.model,
            model_provider: start.model_provider,
            timeout_ms: start.timeout_ms,
            cwd: start.cwd,
            sandbox: start.sandbox,
            approval_policy: start.approval_policy,
            output_schema: None,
            images: Vec::new(),
            if_busy: start.if_busy,
            raw_events: false,
            include_deltas: false,
            callback_url: None,
        };
        let started = prompt::prompt(app, caller, request, false).await?;
        let live = ConversationRef::Live(started.turn.conversation);
        return Ok((ConversationView::new(&live), !was_there));
    }
    policy::allow_sandbox(app.config(), start.sandbox)?;
    policy::allow_approvals(app.config(), start.approval_policy)?;
    let options = StartOptions {
        cwd: start.cwd.map(FolderPath::into_string),
        model: choose_model(app.config(), start.model, start.model_provider)?,
        sandbox: start.sandbox,
        approval_policy: start.approval_policy,
        ..StartOptions::new(caller)
    };
    let opening = app.detached(|app| async move {
        let was_there = is_open(&app, &options.caller, &key);
        let conversation = app.conversations().open(&key, &options).await?;
        if was_there {
            conversation.check_settings(&options)?;
        }
        Ok((conversation, !was_there))
    });
    let (conversation, is_new) = opening.await?;
    Ok((ConversationView::new(&ConversationRef::Live(conversation)), is_new))
}

/// Whether a name stands for a conversation of the caller that goes on. One in the archive does not.
fn is_open(app: &App, caller: &str, key: &ConversationKey) -> bool {
    match app.conversations().find(caller, key) {
        Some(ConversationRef::Live(_)) => true,
        Some(ConversationRef::Stored(stored, _)) => !stored.archived,
        None => false,
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
pub(crate) async fn archive(
    app: &Arc<App>,
    caller: &str,
    id: ConversationId,
) -> Result<Archived, Error> {
    find(app, caller, &id)?;
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
#[serde(deny_unknown_fields)]
pub(crate) struct ForkRequest {
    /// The last turn that the fork remembers; default: the last that has ended.
    after_turn: Option<String>,
    /// The name of the new conversation.
    new_session_id: Option<SessionId>,
}

/// Starts another conversation with the history of this one.
///
/// # Errors
/// As of [`Registry::fork`](crate::conversation::registry::Registry::fork).
pub(crate) async fn fork(
    app: &Arc<App>,
    caller: &str,
    id: &ConversationId,
    fork: ForkRequest,
) -> Result<ConversationView, Error> {
    let source = find(app, caller, id)?;
    let caller = caller.to_owned();
    let forking = app.detached(|app| async move {
        app.conversations().fork(&caller, &source, fork.after_turn, fork.new_session_id).await
    });
    Ok(ConversationView::new(&ConversationRef::Live(forking.await?)))
}
