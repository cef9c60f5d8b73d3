//! What a conversation has come to: its recorded turns, its changes, what it waits for.

use codex_gateway_engine::approval::Answer;
use codex_gateway_engine::approval::Decision;
use codex_gateway_engine::history::PastTurn;
use http::Response;
use http::StatusCode;
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::Serialize;

use super::find;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::approvals::PendingApproval;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::json as body_json;
use crate::web::reply;

/// The recorded turns of a conversation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct History {
    conversation_id: String,
    turns: Vec<PastTurn>,
}

pub(crate) async fn past(app: &App, id: &ConversationId) -> Result<History, Error> {
    find(app, id)?;
    let turns = app.conversations().history(id).await?;
    Ok(History { conversation_id: id.to_string(), turns })
}

/// `GET /api/v1/conversations/{id}/history`
pub async fn history(app: &App, id: &ConversationId) -> Result<Response<Body>, Error> {
    Ok(reply::json(StatusCode::OK, &past(app, id).await?))
}

/// What the newest turn changed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Diff {
    conversation_id: String,
    /// The turn; null where none has changed anything since the conversation became live.
    turn_id: Option<String>,
    /// A unified diff.
    diff: String,
}

/// `GET /api/v1/conversations/{id}/diff`
pub fn diff(app: &App, id: &ConversationId) -> Result<Response<Body>, Error> {
    let diff = match find(app, id)? {
        ConversationRef::Live(conversation) => conversation.diff(),
        ConversationRef::Stored(_) => None,
    };
    let (turn_id, diff) = diff.map(|(turn, diff)| (turn.to_string(), diff)).unzip();
    let conversation_id = id.to_string();
    let diff = Diff { conversation_id, turn_id, diff: diff.unwrap_or_default() };
    Ok(reply::json(StatusCode::OK, &diff))
}

/// What a conversation's running turn waits for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Approvals {
    conversation_id: String,
    approvals: Vec<PendingApproval>,
}

/// `GET /api/v1/conversations/{id}/approvals`
pub fn approvals(app: &App, id: &ConversationId) -> Result<Response<Body>, Error> {
    let approvals = match find(app, id)? {
        ConversationRef::Live(conversation) => conversation.pending_approvals(),
        ConversationRef::Stored(_) => Vec::new(),
    };
    let conversation_id = id.to_string();
    Ok(reply::json(StatusCode::OK, &Approvals { conversation_id, approvals }))
}

/// A decision was passed on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Decided {
    decided: bool,
    conversation_id: String,
    approval_id: String,
    decision: Decision,
}

pub(crate) async fn decide(
    app: &App,
    id: &ConversationId,
    approval_id: &str,
    answer: Answer,
    by: &str,
) -> Result<Decided, Error> {
    let decision = answer.decision;
    match find(app, id)? {
        ConversationRef::Live(conversation) => {
            let (approval_id, by) = (approval_id.to_owned(), by.to_owned());
            let answered = async move { conversation.answer(&approval_id, answer, &by).await };
            app.detached(answered).await?;
        }
        ConversationRef::Stored(_) => {
            return Err(Error::new(
                Kind::NotFound,
                format!(
                    "approval_id: the conversation waits for nothing, got {}",
                    excerpt(approval_id)
                ),
            ));
        }
    }
    Ok(Decided {
        decided: true,
        conversation_id: id.to_string(),
        approval_id: approval_id.to_owned(),
        decision,
    })
}

/// `POST /api/v1/conversations/{id}/approvals/{approval_id}`
pub async fn approve(
    app: &App,
    context: &RequestContext,
    id: &ConversationId,
    approval_id: &str,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let body = body_json::read(&context.headers, body, &app.config().server).await?;
    let answer: Answer = body_json::decode(&body)?;
    let decided = decide(app, id, approval_id, answer, context.caller()).await?;
    Ok(reply::json(StatusCode::OK, &decided))
}
