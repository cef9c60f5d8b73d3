//! The running turn and turns without a prompt: steer, interrupt, compact, rollback, review.

use std::sync::Arc;

use codex_gateway_engine::Prompt;
use codex_gateway_engine::Review;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use tracing::Instrument;
use tracing::Span;

use super::find;
use super::prompt::check_length;
use super::prompt::time_limit;
use super::review_target::ReviewTarget;
use crate::app::App;
use crate::conversation::Activity;
use crate::conversation::Conversation;
use crate::conversation::ConversationRef;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::conversation::limits::TurnTimeout;
use crate::conversation::report::TurnError;
use crate::conversation::report::TurnStatus;
use crate::error::Error;
use crate::input::image::ImageUri;
use crate::input::text::SomeText;
use crate::input::whole::Whole;

/// Whether a turn was interrupted.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Cancelled {
    /// False where none was running, or it completed first.
    cancelled: bool,
    session_id: SessionId,
    conversation_id: ConversationId,
    /// The interrupted turn.
    pub(crate) turn_id: Option<String>,
}

/// Interrupts the running turn and waits until it has stopped.
///
/// # Errors
/// The turn is lost.
pub(crate) async fn interrupt(known: &ConversationRef) -> Result<Cancelled, Error> {
    let stopped = match known {
        ConversationRef::Live(conversation) => conversation.interrupt(None),
        ConversationRef::Stored(..) => None,
    };
    let turn_id = match stopped {
        Some(turn) => {
            let report = turn.report().await?;
            (report.status != TurnStatus::Completed).then(|| turn.id.to_string())
        }
        None => None,
    };
    Ok(Cancelled {
        cancelled: turn_id.is_some(),
        session_id: known.session_id().clone(),
        conversation_id: known.id().clone(),
        turn_id,
    })
}

/// A text and images to add to the running turn.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SteerRequest {
    /// Not blank.
    prompt: SomeText,
    /// `data:image/…;base64,…` URIs.
    #[serde(default)]
    images: Vec<ImageUri>,
}

/// Whether the prompt was added.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Steered {
    /// False where no turn was running.
    steered: bool,
    conversation_id: ConversationId,
    /// The steered turn.
    turn_id: Option<String>,
}

/// Adds a prompt to the running turn.
///
/// # Errors
/// `TooLarge` for the prompt; `NotFound`; `Forbidden` where another caller has logged the session in;
/// propagates `EngineError`.
pub(crate) async fn steer(
    app: &App,
    caller: &str,
    id: &ConversationId,
    steer: SteerRequest,
) -> Result<Steered, Error> {
    check_length(app.config(), &steer.prompt)?;
    let prompt = Prompt {
        text: steer.prompt.into_string(),
        images: ImageUri::strings(steer.images),
        ..Prompt::default()
    };
    let known = find(app, caller, id)?;
    app.credentials().admit(known.session_id().as_str(), caller)?;
    let turn = match known {
        ConversationRef::Live(conversation) => conversation.steer(&prompt).await?,
        ConversationRef::Stored(..) => None,
    };
    Ok(Steered {
        steered: turn.is_some(),
        conversation_id: id.clone(),
        turn_id: turn.map(|turn| turn.id.to_string()),
    })
}

/// The outcome of a turn without a prompt.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TurnOutcome {
    conversation_id: ConversationId,
    session_id: SessionId,
    turn_id: String,
    status: TurnStatus,
    /// The agent's last message.
    content: String,
    /// The findings of a review, in core's form.
    review: Option<Value>,
    error: Option<TurnError>,
}

/// Loads a conversation, starts a turn of it and waits for its end. The turn is traced below the
/// caller's span.
async fn run_turn<F>(
    app: &Arc<App>,
    caller: &str,
    id: ConversationId,
    start: impl Fn(Arc<Conversation>) -> F + Send + Sync + 'static,
) -> Result<TurnOutcome, Error>
where
    F: Future<Output = Result<Turn, Error>> + Send,
{
    let caller = caller.to_owned();
    let span = Span::current();
    let starting = app.detached(|app| async move {
        let start = |conversation| start(conversation).instrument(span.clone());
        app.conversations().with_live(&id, &caller, start).await
    });
    let turn = starting.await?;
    let report = turn.report().await?;
    Ok(TurnOutcome {
        conversation_id: turn.conversation.id().clone(),
        session_id: turn.conversation.session_id().clone(),
        turn_id: turn.id.to_string(),
        status: report.status,
        content: report.message.clone(),
        review: report.review.clone(),
        error: report.error.clone(),
    })
}

/// Summarises the history to make room for more.
///
/// # Errors
/// `NotFound`; `Busy` while a turn runs; propagates `EngineError`.
pub(crate) async fn compact(
    app: &Arc<App>,
    caller: &str,
    id: ConversationId,
) -> Result<TurnOutcome, Error> {
    run_turn(app, caller, id, |conversation| async move { conversation.compact().await }).await
}

/// The changes to review.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReviewRequest {
    target: ReviewTarget,
    /// The turn's time limit in milliseconds.
    timeout_ms: Option<TurnTimeout>,
}

/// Has the agent review code.
///
/// # Errors
/// As of [`compact`].
pub(crate) async fn review(
    app: &Arc<App>,
    caller: &str,
    id: ConversationId,
    request: ReviewRequest,
) -> Result<TurnOutcome, Error> {
    let limit = time_limit(request.timeout_ms).unwrap_or(app.config().turns.default_timeout);
    let target = Review::from(request.target);
    run_turn(app, caller, id, move |conversation: Arc<Conversation>| {
        let target = target.clone();
        async move { conversation.review(target, limit).await }
    })
    .await
}

/// How many turns to remove.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    /// At most as many as are recorded.
    turns: Whole<1, { u32::MAX as u64 }>,
}

/// Whether turns were removed from what the model remembers. Files stay as they are.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RolledBack {
    /// False where no turn is recorded.
    rolled_back: bool,
    conversation_id: ConversationId,
    /// The number of turns that were removed.
    turns: u32,
}

/// Removes the last turns from what the model remembers.
///
/// # Errors
/// `InvalidRequest` for more turns than are recorded; otherwise as of [`compact`].
pub(crate) async fn rollback(
    app: &Arc<App>,
    caller: &str,
    id: ConversationId,
    RollbackRequest { turns }: RollbackRequest,
) -> Result<RolledBack, Error> {
    let turns = u32::try_from(turns.get()).unwrap_or(u32::MAX);
    let conversation_id = id.clone();
    let is_idle = match find(app, caller, &id)? {
        ConversationRef::Live(conversation) => conversation.snapshot().activity == Activity::Idle,
        ConversationRef::Stored(stored, _) => !stored.archived,
    };
    // A busy or archived conversation is refused below, as such.
    if is_idle {
        // Core fails to roll back a conversation without a recording, and takes any number.
        let recorded = app.conversations().history(&id, None, turns as usize).await?.turns.len();
        if recorded == 0 {
            return Ok(RolledBack { rolled_back: false, conversation_id, turns: 0 });
        }
        if turns as usize > recorded {
            return Err(Error::invalid(format!(
                "turns: expected at most {recorded}, as many as are recorded, got {turns}"
            )));
        }
    }
    let caller = caller.to_owned();
    let rolling = app.detached(|app| async move {
        let start = |conversation: Arc<Conversation>| async move {
            conversation.start_rollback(turns).await
        };
        app.conversations().with_live(&id, &caller, start).await?.confirmed().await
    });
    rolling.await?;
    Ok(RolledBack { rolled_back: true, conversation_id, turns })
}
