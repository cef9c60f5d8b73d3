//! Conversations, as REST; `conversation.*` of [`crate::rpc`] calls the same functions.
//!
//! - this file: `GET` and `POST /api/v1/conversations`, `GET` and `DELETE …/{id}`
//! - [`events`]: `GET …/{id}/events`
//! - [`act`]: `POST …/{id}/interrupt`, `steer`, `fork`, `resume`, `compact`, `rollback`, `review`
//! - [`look`]: `GET …/{id}/history`, `diff`, `approvals`; `POST …/{id}/approvals/{approval_id}`

pub mod act;
pub mod events;
pub mod look;

use std::path::PathBuf;
use std::sync::Arc;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::protocol::TokenUsage;
use http::Response;
use http::StatusCode;
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::prompt::PromptRequest;
use super::prompt::allow_approvals;
use super::prompt::allow_sandbox;
use super::prompt::choose;
use crate::app::App;
use crate::bridge::call_log::CallRecord;
use crate::conversation::Activity;
use crate::conversation::ConversationRef;
use crate::conversation::StartOptions;
use crate::conversation::approvals::PendingApproval;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::id::Seq;
use crate::conversation::registry::unknown;
use crate::error::Error;
use crate::text::rfc3339;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::json as body_json;
use crate::web::reply;

/// How many conversations a page holds, unless it is told, and at most.
const PAGE: usize = 20;
const MAX_PAGE: usize = 100;
/// How many model calls of a conversation are shown.
const MODEL_CALLS: usize = 16;

/// A conversation as clients see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Document {
    conversation_id: String,
    session_id: String,
    /// `closed`: it is in the archive.
    status: Activity,
    /// The turn that is running.
    turn_id: Option<String>,
    model: String,
    model_provider: String,
    /// The folder it works in.
    cwd: PathBuf,
    sandbox: Sandbox,
    approval_policy: Approval,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
    /// Tokens of all turns together.
    #[schemars(with = "Option<Value>")]
    usage: Option<TokenUsage>,
    /// The newest event.
    last_seq: Seq,
    /// The oldest event that is kept.
    oldest_seq: Seq,
    /// What the running turn waits for.
    pending_approvals: Vec<PendingApproval>,
}

impl Document {
    /// What can be seen of a conversation at this moment.
    pub fn of(known: &ConversationRef) -> Self {
        match known {
            ConversationRef::Live(conversation) => {
                let snapshot = conversation.snapshot();
                let defaults = conversation.defaults();
                Self {
                    conversation_id: conversation.id().to_string(),
                    session_id: conversation.session_id().to_string(),
                    status: snapshot.activity,
                    turn_id: snapshot.turn_id.as_deref().map(str::to_owned),
                    model: snapshot.model,
                    model_provider: conversation.model_provider().to_owned(),
                    cwd: conversation.cwd().to_owned(),
                    sandbox: defaults.sandbox,
                    approval_policy: defaults.approval_policy,
                    created_at: rfc3339(conversation.created_at()),
                    updated_at: rfc3339(snapshot.updated_at),
                    usage: snapshot.usage,
                    last_seq: conversation.log().last_seq(),
                    oldest_seq: conversation.log().oldest_seq(),
                    pending_approvals: conversation.pending_approvals(),
                }
            }
            ConversationRef::Stored(record) => Self {
                conversation_id: record.conversation_id.to_string(),
                session_id: record.session_id.to_string(),
                status: if record.archived { Activity::Closed } else { Activity::Idle },
                turn_id: None,
                model: record.defaults.model.clone(),
                model_provider: record.model_provider.clone(),
                cwd: record.cwd.clone(),
                sandbox: record.defaults.sandbox,
                approval_policy: record.defaults.approval_policy,
                created_at: rfc3339(record.created_at),
                updated_at: rfc3339(record.created_at),
                usage: None,
                last_seq: 0,
                oldest_seq: 1,
                pending_approvals: Vec::new(),
            },
        }
    }
}

/// A conversation by its id.
///
/// # Errors
/// `NotFound`.
pub(crate) fn find(app: &App, id: &ConversationId) -> Result<ConversationRef, Error> {
    app.conversations().known(id).ok_or_else(|| unknown(id))
}

/// `GET /api/v1/conversations/{id}`
pub fn show(app: &App, id: &ConversationId) -> Result<Response<Body>, Error> {
    let document = Document::of(&find(app, id)?);
    let model_calls = app.model_calls().recent(id.as_str(), MODEL_CALLS);
    Ok(reply::json(StatusCode::OK, &Shown { document, model_calls }))
}

/// A conversation, and the newest of its model calls, newest first.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    document: Document,
    model_calls: Vec<Arc<CallRecord>>,
}

/// Which conversations are wanted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct List {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many, 1 to 100; 20 unless it is told.
    limit: Option<usize>,
    /// Only those that do this. Without it, all that are not in the archive (`closed`).
    status: Option<Activity>,
}

/// A page of conversations, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page {
    conversations: Vec<Document>,
    /// The cursor of the next page; null where this is the last.
    next_cursor: Option<String>,
}

pub(crate) fn page(app: &App, list: &List) -> Result<Page, Error> {
    let limit = list.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Error::invalid(format!("limit: expected 1 to {MAX_PAGE}, got {limit}")));
    }
    let cursor = list.cursor.as_deref().map(ConversationId::parse).transpose();
    let mut before =
        cursor.map_err(|_| Error::invalid("cursor: expected next_cursor of a page"))?;
    let mut page = Page { conversations: Vec::new(), next_cursor: None };
    loop {
        let found = app.conversations().newest_first(before.as_ref(), MAX_PAGE);
        let last = found.len() < MAX_PAGE;
        for known in &found {
            let document = Document::of(known);
            let wanted = match list.status {
                Some(status) => document.status == status,
                None => document.status != Activity::Closed,
            };
            if !wanted {
                continue;
            }
            if page.conversations.len() == limit {
                page.next_cursor =
                    page.conversations.last().map(|last| last.conversation_id.clone());
                return Ok(page);
            }
            page.conversations.push(document);
        }
        if last {
            return Ok(page);
        }
        before = found.last().map(|last| last.id().clone());
    }
}

/// `GET /api/v1/conversations`
pub fn list(app: &App, context: &RequestContext) -> Result<Response<Body>, Error> {
    let mut list = List::default();
    for (name, value) in context.query() {
        match &*name {
            "cursor" => list.cursor = Some(value.into_owned()),
            "limit" => {
                let limit = value.parse();
                list.limit = Some(limit.map_err(|_| Error::invalid("limit: expected a number"))?);
            }
            "status" => {
                let status = serde_json::from_value(Value::from(&*value)).map_err(|_| {
                    Error::invalid("status: expected idle, running, waiting_approval or closed")
                })?;
                list.status = Some(status);
            }
            _ => {
                return Err(Error::invalid(format!(
                    "expected the query parameters cursor, limit and status, got {}",
                    crate::text::excerpt(&name)
                )));
            }
        }
    }
    Ok(reply::json(StatusCode::OK, &page(app, &list)?))
}

/// How a new conversation is to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Start {
    session_id: Option<String>,
    model: Option<String>,
    model_provider: Option<String>,
    cwd: Option<String>,
    sandbox: Option<Sandbox>,
    approval_policy: Option<Approval>,
    /// A first prompt: its turn is begun and not waited for.
    prompt: Option<String>,
    /// That turn's time limit.
    timeout_ms: Option<u64>,
}

/// Starts a conversation. The one that has the session's name already is taken as it is.
pub(crate) async fn begin(app: &Arc<App>, start: Start, caller: &str) -> Result<Document, Error> {
    if start.prompt.is_some() {
        let checked = PromptRequest::from(start).check(app, caller)?;
        let (turn, _free) = checked.start(app, false).await?;
        return Ok(Document::of(&ConversationRef::Live(turn.conversation)));
    }
    allow_sandbox(app.config(), start.sandbox)?;
    allow_approvals(app.config(), start.approval_policy)?;
    let key = ConversationKey::parse(start.session_id.as_deref(), None)?;
    let options = StartOptions {
        cwd: start.cwd,
        model: choose(app.config(), start.model, start.model_provider)?,
        sandbox: start.sandbox,
        approval_policy: start.approval_policy,
        ..StartOptions::new(caller)
    };
    let app_ = Arc::clone(app);
    let opened = app.detached(async move { app_.conversations().open(&key, &options).await });
    Ok(Document::of(&ConversationRef::Live(opened.await?)))
}

impl From<Start> for PromptRequest {
    fn from(start: Start) -> Self {
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

/// `POST /api/v1/conversations`
pub async fn start(
    app: &Arc<App>,
    context: &RequestContext,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let start = body_json::optional(&context.headers, body, &app.config().server).await?;
    let document = begin(app, start, context.caller()).await?;
    Ok(reply::json(StatusCode::CREATED, &document))
}

/// `DELETE /api/v1/conversations/{id}`
pub async fn archive(app: &Arc<App>, id: &ConversationId) -> Result<Response<Body>, Error> {
    Ok(reply::json(StatusCode::OK, &put_away(app, id).await?))
}

/// A conversation is in the archive.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Archived {
    archived: bool,
    conversation_id: String,
}

pub(crate) async fn put_away(app: &Arc<App>, id: &ConversationId) -> Result<Archived, Error> {
    let wanted = id.clone();
    let app_ = Arc::clone(app);
    app.detached(async move { app_.conversations().archive(&wanted).await }).await?;
    Ok(Archived { archived: true, conversation_id: id.to_string() })
}
