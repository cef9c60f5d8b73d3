//! What is done to a conversation, beside prompts: `POST /api/v1/conversations/{id}/{action}`.

use std::sync::Arc;

use codex_gateway_engine::Prompt;
use codex_gateway_engine::Review;
use http::Response;
use http::StatusCode;
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use tracing::Instrument;
use tracing::Span;

use super::super::exec;
use super::super::prompt::only_data_uris;
use super::super::prompt::time_limit;
use super::Document;
use super::find;
use crate::api::route::Action;
use crate::app::App;
use crate::conversation::Conversation;
use crate::conversation::ConversationRef;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::conversation::report::Failure;
use crate::conversation::report::Status;
use crate::error::Error;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::json as body_json;
use crate::web::reply;

/// `POST /api/v1/conversations/{id}/{action}`
pub async fn act(
    app: &Arc<App>,
    context: &RequestContext,
    id: &ConversationId,
    action: Action,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let (headers, limits) = (&context.headers, &app.config().server);
    let caller = context.caller();
    match action {
        Action::Turns => exec::events(app, context, Some(id), body).await,
        Action::Interrupt => Ok(reply::json(StatusCode::OK, &interrupt(&find(app, id)?).await?)),
        Action::Steer => {
            let steer = body_json::decode(&body_json::read(headers, body, limits).await?)?;
            Ok(reply::json(StatusCode::OK, &self::steer(app, id, steer, caller).await?))
        }
        Action::Fork => {
            let fork = body_json::optional(headers, body, limits).await?;
            Ok(reply::json(StatusCode::CREATED, &self::fork(app, id, fork).await?))
        }
        Action::Resume => Ok(reply::json(StatusCode::OK, &resume(app, id, caller).await?)),
        Action::Compact => Ok(reply::json(StatusCode::OK, &compact(app, id, caller).await?)),
        Action::Rollback => {
            let rollback = body_json::decode(&body_json::read(headers, body, limits).await?)?;
            Ok(reply::json(StatusCode::OK, &self::rollback(app, id, rollback, caller).await?))
        }
        Action::Review => {
            let review = body_json::decode(&body_json::read(headers, body, limits).await?)?;
            Ok(reply::json(StatusCode::OK, &self::review(app, id, review, caller).await?))
        }
    }
}

/// Whether a turn was stopped.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cancelled {
    /// False where none was running, or it completed first.
    cancelled: bool,
    session_id: String,
    conversation_id: String,
    pub(crate) turn_id: Option<String>,
}

/// Stops the running turn and waits until it has stopped.
pub(crate) async fn interrupt(known: &ConversationRef) -> Result<Cancelled, Error> {
    let stopped = match known {
        ConversationRef::Live(conversation) => conversation.stop(None),
        ConversationRef::Stored(_) => None,
    };
    let turn_id = match stopped {
        Some(turn) => {
            let report = turn.report().await?;
            (report.status != Status::Completed).then(|| turn.id.to_string())
        }
        None => None,
    };
    Ok(Cancelled {
        cancelled: turn_id.is_some(),
        session_id: known.session_id().to_string(),
        conversation_id: known.id().to_string(),
        turn_id,
    })
}

/// What is added to the running turn.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Steer {
    pub(crate) prompt: String,
    #[serde(default)]
    pub(crate) images: Vec<String>,
}

/// Whether it was added.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Steered {
    /// False where no turn was running.
    steered: bool,
    conversation_id: String,
    turn_id: Option<String>,
}

pub(crate) async fn steer(
    app: &App,
    id: &ConversationId,
    steer: Steer,
    caller: &str,
) -> Result<Steered, Error> {
    if steer.prompt.trim().is_empty() {
        return Err(Error::invalid("prompt: expected a string that is not empty"));
    }
    only_data_uris(&steer.images)?;
    let prompt = Prompt { text: steer.prompt, images: steer.images, ..Prompt::default() };
    let known = find(app, id)?;
    app.conversations().credentials().admit(known.session_id().as_str(), caller)?;
    let turn = match known {
        ConversationRef::Live(conversation) => conversation.steer(&prompt).await?,
        ConversationRef::Stored(_) => None,
    };
    Ok(Steered {
        steered: turn.is_some(),
        conversation_id: id.to_string(),
        turn_id: turn.map(|turn| turn.id.to_string()),
    })
}

/// Where a fork leaves the conversation.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Fork {
    /// The last turn that the fork remembers; the last that has ended, unless it is told.
    pub(crate) after_turn: Option<String>,
    /// The name of the new conversation.
    pub(crate) new_session_id: Option<String>,
}

pub(crate) async fn fork(
    app: &Arc<App>,
    id: &ConversationId,
    fork: Fork,
) -> Result<Document, Error> {
    let source = find(app, id)?;
    let session_id = fork.new_session_id.as_deref().map(SessionId::parse).transpose()?;
    let app_ = Arc::clone(app);
    let forked = app.detached(async move {
        app_.conversations().fork(&source, fork.after_turn, session_id).await
    });
    Ok(Document::of(&ConversationRef::Live(forked.await?)))
}

pub(crate) async fn resume(
    app: &Arc<App>,
    id: &ConversationId,
    caller: &str,
) -> Result<Document, Error> {
    let (app_, id, caller) = (Arc::clone(app), id.clone(), caller.to_owned());
    let revived = app.detached(async move { app_.conversations().unarchive(&id, &caller).await });
    let revived = revived.await?;
    Ok(Document::of(&ConversationRef::Live(revived)))
}

/// What a turn without a prompt came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ended {
    conversation_id: String,
    session_id: String,
    turn_id: String,
    #[schemars(with = "String")]
    status: Status,
    /// The agent's last message.
    content: String,
    /// What a review found, as core says it.
    review: Option<Value>,
    error: Option<Failure>,
}

/// Begins a turn and waits for its end.
async fn ended<F>(
    app: &Arc<App>,
    id: &ConversationId,
    caller: &str,
    begin: impl Fn(Arc<Conversation>) -> F + Send + Sync + 'static,
) -> Result<Ended, Error>
where
    F: Future<Output = Result<Turn, Error>> + Send,
{
    let (app_, id, caller) = (Arc::clone(app), id.clone(), caller.to_owned());
    let span = Span::current();
    let turn = app.detached(async move {
        let begin = |conversation| begin(conversation).instrument(span.clone());
        app_.conversations().with_live(&id, &caller, begin).await
    });
    let turn = turn.await?;
    let report = turn.report().await?;
    Ok(Ended {
        conversation_id: turn.conversation.id().to_string(),
        session_id: turn.conversation.session_id().to_string(),
        turn_id: turn.id.to_string(),
        status: report.status,
        content: report.message.clone(),
        review: report.review.clone(),
        error: report.error.clone(),
    })
}

pub(crate) async fn compact(
    app: &Arc<App>,
    id: &ConversationId,
    caller: &str,
) -> Result<Ended, Error> {
    ended(app, id, caller, |conversation| async move { conversation.compact().await }).await
}

/// What a review looks at.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ReviewRequest {
    pub(crate) target: Review,
    pub(crate) timeout_ms: Option<u64>,
}

pub(crate) async fn review(
    app: &Arc<App>,
    id: &ConversationId,
    request: ReviewRequest,
    caller: &str,
) -> Result<Ended, Error> {
    let limit = time_limit(request.timeout_ms, &TIMEOUT_RANGE_MS)?;
    let limit = limit.unwrap_or(app.config().turns.default_timeout);
    ended(app, id, caller, move |conversation: Arc<Conversation>| {
        let target = request.target.clone();
        async move { conversation.review(target, limit).await }
    })
    .await
}

/// How many turns are taken back.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Rollback {
    /// At least 1.
    pub(crate) turns: u32,
}

/// Turns were taken out of what the model remembers. Files stay as they are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RolledBack {
    rolled_back: bool,
    conversation_id: String,
    turns: u32,
}

pub(crate) async fn rollback(
    app: &Arc<App>,
    id: &ConversationId,
    Rollback { turns }: Rollback,
    caller: &str,
) -> Result<RolledBack, Error> {
    if turns == 0 {
        return Err(Error::invalid("turns: expected 1 or more, got 0"));
    }
    let (app_, wanted, caller) = (Arc::clone(app), id.clone(), caller.to_owned());
    let rolled = app.detached(async move {
        let start = |conversation: Arc<Conversation>| async move {
            conversation.start_rollback(turns).await
        };
        app_.conversations().with_live(&wanted, &caller, start).await?.confirmed().await
    });
    rolled.await?;
    Ok(RolledBack { rolled_back: true, conversation_id: id.to_string(), turns })
}
