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
use super::super::json as body_json;
use super::super::prompt::only_data_uris;
use super::super::prompt::time_limit;
use super::Document;
use super::find;
use crate::config::TIMEOUT_RANGE_MS;
use crate::conversation::Conversation;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::conversation::registry::Known;
use crate::conversation::report::Failure;
use crate::conversation::report::Status;
use crate::error::Error;
use crate::gateway::Action;
use crate::gateway::Body;
use crate::gateway::Context;
use crate::gateway::Gateway;
use crate::gateway::reply;

/// `POST /api/v1/conversations/{id}/{action}`
pub async fn act(
    gateway: &Arc<Gateway>,
    context: &Context,
    id: &ConversationId,
    action: Action,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let (headers, limits) = (&context.headers, &gateway.config().server);
    let caller = context.caller();
    match action {
        Action::Turns => exec::events(gateway, context, Some(id), body).await,
        Action::Interrupt => {
            Ok(reply::json(StatusCode::OK, &interrupt(&find(gateway, id)?).await?))
        }
        Action::Steer => {
            let steer = body_json::decode(&body_json::read(headers, body, limits).await?)?;
            Ok(reply::json(StatusCode::OK, &self::steer(gateway, id, steer, caller).await?))
        }
        Action::Fork => {
            let fork = body_json::optional(headers, body, limits).await?;
            Ok(reply::json(StatusCode::CREATED, &self::fork(gateway, id, fork).await?))
        }
        Action::Resume => Ok(reply::json(StatusCode::OK, &resume(gateway, id, caller).await?)),
        Action::Compact => Ok(reply::json(StatusCode::OK, &compact(gateway, id, caller).await?)),
        Action::Rollback => {
            let rollback = body_json::decode(&body_json::read(headers, body, limits).await?)?;
            Ok(reply::json(StatusCode::OK, &self::rollback(gateway, id, rollback, caller).await?))
        }
        Action::Review => {
            let review = body_json::decode(&body_json::read(headers, body, limits).await?)?;
            Ok(reply::json(StatusCode::OK, &self::review(gateway, id, review, caller).await?))
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
pub(crate) async fn interrupt(known: &Known) -> Result<Cancelled, Error> {
    let stopped = match known {
        Known::Live(conversation) => conversation.stop(None),
        Known::Recorded(_) => None,
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
        session_id: known.session_id().to_owned(),
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
    gateway: &Gateway,
    id: &ConversationId,
    steer: Steer,
    caller: &str,
) -> Result<Steered, Error> {
    if steer.prompt.trim().is_empty() {
        return Err(Error::invalid("prompt: expected a string that is not empty"));
    }
    only_data_uris(&steer.images)?;
    let prompt = Prompt { text: steer.prompt, images: steer.images, ..Prompt::default() };
    let known = find(gateway, id)?;
    gateway.conversations().credentials().admit(known.session_id(), caller)?;
    let turn = match known {
        Known::Live(conversation) => conversation.steer(&prompt).await?,
        Known::Recorded(_) => None,
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
    gateway: &Arc<Gateway>,
    id: &ConversationId,
    fork: Fork,
) -> Result<Document, Error> {
    let source = find(gateway, id)?;
    let session_id = fork.new_session_id.as_deref().map(SessionId::parse).transpose()?;
    let gateway_ = Arc::clone(gateway);
    let forked = gateway.undisturbed(async move {
        gateway_.conversations().fork(&source, fork.after_turn, session_id).await
    });
    Ok(Document::of(&Known::Live(forked.await?)))
}

pub(crate) async fn resume(
    gateway: &Arc<Gateway>,
    id: &ConversationId,
    caller: &str,
) -> Result<Document, Error> {
    let (gateway_, id, caller) = (Arc::clone(gateway), id.clone(), caller.to_owned());
    let revived =
        gateway.undisturbed(async move { gateway_.conversations().revive(&id, &caller).await });
    let revived = revived.await?;
    Ok(Document::of(&Known::Live(revived)))
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
    gateway: &Arc<Gateway>,
    id: &ConversationId,
    caller: &str,
    begin: impl FnOnce(Arc<Conversation>) -> F + Send + 'static,
) -> Result<Ended, Error>
where
    F: Future<Output = Result<Turn, Error>> + Send,
{
    let (gateway_, id, caller) = (Arc::clone(gateway), id.clone(), caller.to_owned());
    let span = Span::current();
    let turn = gateway.undisturbed(async move {
        let conversation = gateway_.conversations().wake(&id, &caller).await?;
        begin(conversation).instrument(span).await
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
    gateway: &Arc<Gateway>,
    id: &ConversationId,
    caller: &str,
) -> Result<Ended, Error> {
    ended(gateway, id, caller, async |conversation| conversation.compact().await).await
}

/// What a review looks at.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ReviewRequest {
    pub(crate) target: Review,
    pub(crate) timeout_ms: Option<u64>,
}

pub(crate) async fn review(
    gateway: &Arc<Gateway>,
    id: &ConversationId,
    request: ReviewRequest,
    caller: &str,
) -> Result<Ended, Error> {
    let limit = time_limit(request.timeout_ms, &TIMEOUT_RANGE_MS)?;
    let limit = limit.unwrap_or(gateway.config().turns.default_timeout);
    ended(gateway, id, caller, async move |conversation: Arc<Conversation>| {
        conversation.review(request.target, limit).await
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
    gateway: &Arc<Gateway>,
    id: &ConversationId,
    Rollback { turns }: Rollback,
    caller: &str,
) -> Result<RolledBack, Error> {
    if turns == 0 {
        return Err(Error::invalid("turns: expected 1 or more, got 0"));
    }
    let (gateway_, wanted, caller) = (Arc::clone(gateway), id.clone(), caller.to_owned());
    let rolled = gateway.undisturbed(async move {
        gateway_.conversations().wake(&wanted, &caller).await?.rollback(turns).await
    });
    rolled.await?;
    Ok(RolledBack { rolled_back: true, conversation_id: id.to_string(), turns })
}
