//! `conversation.prompt`, `conversation.status`, `conversation.cancel`.

use codex_gateway_engine::protocol::TokenUsage;
use codex_gateway_engine::sandbox::Mechanism;
use codex_gateway_engine::sandbox::Tools;
use futures::StreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::call_context::CallContext;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::Turn;
use crate::conversation::approvals::PendingApproval;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::id::Seq;
use crate::conversation::id::SessionId;
use crate::conversation::log::Entry;
use crate::conversation::report::Report;
use crate::conversation::report::Status;
use crate::error::Error;
use crate::error::Kind;
use crate::ops;
use crate::ops::conversations::ConversationSettings;
use crate::ops::conversations::ConversationState;
use crate::ops::conversations::ConversationView;
pub(super) use crate::ops::prompt::PromptRequest;
use crate::ops::prompt::StartedTurn;
pub(super) use crate::ops::turns::Cancelled;
use crate::stream;
use crate::stream::Item;
use crate::stream::StreamEnd;
use crate::text::excerpt;

/// The most bytes of events in a result. A `GatewayTruncated` event stands for the others; the event
/// endpoint has them.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// The outcome of a turn.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AiResponse {
    /// Always `ai_response`.
    r#type: &'static str,
    #[schemars(with = "ConversationId")]
    conversation_id: String,
    #[schemars(with = "SessionId")]
    session_id: String,
    turn_id: String,
    status: Status,
    /// The agent's last message.
    content: String,
    model: String,
    /// RFC 3339, in milliseconds, UTC.
    timestamp: String,
    /// Core's events, each under the PascalCase of its type.
    events: Vec<Value>,
    #[schemars(with = "Option<Map<String, Value>>")]
    usage: Option<TokenUsage>,
    /// What confines commands.
    sandbox: Mechanism,
    /// Whether the agent may run commands.
    tools: Tools,
    /// What to do to get a sandbox.
    sandbox_fix: Option<&'static str>,
}

/// Runs a prompt and waits for its turn.
pub(super) async fn prompt(
    call: &CallContext,
    request: PromptRequest,
) -> Result<AiResponse, Error> {
    let app = call.app();
    let include_deltas = request.include_deltas;
    let tied = call.request().cancel_on_disconnect();
    let StartedTurn { turn, cancel_on_drop: _cancel_on_drop, raw_events } =
        ops::prompt::prompt(app, call.caller(), request, tied).await?;

    let (mut events, mut bytes) = (Vec::new(), 0);
    let until = StreamEnd::end_of(&turn);
    let items = stream::events(app.reading(&turn.conversation, turn.after, until, raw_events));
    let mut items = std::pin::pin!(items);
    while let Some(item) = items.next().await {
        match item {
            Item::Events(entries) => {
                for entry in entries.iter().filter(|entry| include_deltas || !entry.is_delta()) {
                    bytes += entry.line.len();
                    if bytes <= MAX_EVENT_BYTES {
                        events.extend(tagged(entry));
                    }
                }
            }
            Item::Notice(notice) => {
                events.push(json!({ pascal(notice.kind()): { "seq": notice.seq } }));
            }
            Item::Heartbeat => {}
        }
    }
    if bytes > MAX_EVENT_BYTES {
        events.push(json!({ "GatewayTruncated": { "limit_bytes": MAX_EVENT_BYTES } }));
    }
    let report = turn.report().await?;
    outcome(app, &turn, &report, events)
}

/// Builds the result of a turn. A turn that failed is an error, with the result as `partial`.
fn outcome(
    app: &App,
    turn: &Turn,
    report: &Report,
    events: Vec<Value>,
) -> Result<AiResponse, Error> {
    let conversation = &turn.conversation;
    let sandbox = &app.facts().sandbox;
    let result = AiResponse {
        r#type: "ai_response",
        conversation_id: conversation.id().to_string(),
        session_id: conversation.session_id().to_string(),
        turn_id: turn.id.to_string(),
        status: report.status,
        content: report.message.clone(),
        model: conversation.snapshot().model,
        timestamp: crate::text::rfc3339(chrono::Utc::now()),
        events,
        usage: report.usage.clone(),
        sandbox: sandbox.mechanism,
        tools: sandbox.tools,
        sandbox_fix: sandbox.fix,
    };
    let partial = |result| serde_json::to_value(result).unwrap_or_default();
    match report.status {
        Status::Completed | Status::Cancelled => Ok(result),
        Status::TimedOut => Err(Error::new(
            Kind::TimedOut,
            format!(
                "the turn was interrupted after {} ms: send a longer timeout_ms",
                report.duration_ms
            ),
        )
        .with("partial", partial(result))),
        Status::Failed => {
            let (kind, message) = match &report.error {
                Some(failure) if failure.source == "model" => {
                    (Kind::Model, failure.message.as_str())
                }
                Some(failure) => (Kind::Engine, failure.message.as_str()),
                None => (Kind::Engine, "the turn failed"),
            };
            Err(Error::new(kind, message).with("partial", partial(result)))
        }
    }
}

/// Keys an event by its type: `{"AgentMessage":{"message":"…"}}`.
fn tagged(entry: &Entry) -> Option<Value> {
    let mut members = vec![b'{'];
    members.extend_from_slice(entry.members());
    let members: Value = serde_json::from_slice(&members).ok()?;
    let mut event = Map::new();
    event.insert(pascal(entry.kind()), members);
    Some(event.into())
}

/// `agent_message` → `AgentMessage`
fn pascal(snake: &str) -> String {
    let capitalise = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(letters)
            .collect::<String>()
    };
    snake.split('_').map(capitalise).collect()
}

/// The names of a conversation; one is enough.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ConversationParams {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
}

impl ConversationParams {
    pub(super) fn new(session_id: Option<String>, conversation_id: Option<String>) -> Self {
        Self { session_id, conversation_id }
    }

    fn key(&self) -> Result<ConversationKey, Error> {
        if self.session_id.is_none() && self.conversation_id.is_none() {
            return Err(Error::invalid("expected session_id or conversation_id"));
        }
        ConversationKey::parse(self.session_id.as_deref(), self.conversation_id.as_deref())
    }

    /// Finds the conversation.
    ///
    /// # Errors
    /// `InvalidRequest` without a name, or with a malformed one; `NotFound`.
    pub(super) fn require(&self, app: &App) -> Result<ConversationRef, Error> {
        app.conversations().find(&self.key()?).ok_or_else(|| {
            let name = self.conversation_id.as_deref().or(self.session_id.as_deref());
            let name = excerpt(name.unwrap_or_default());
            Error::new(Kind::NotFound, format!("no conversation is known as {name}"))
        })
    }

    /// Finds the conversation, or returns the result for an unknown one: clients call to learn
    /// whether a session exists.
    fn find(self, app: &App) -> Result<Result<ConversationRef, NotFound>, Error> {
        let found = app.conversations().find(&self.key()?);
        Ok(found.ok_or(NotFound {
            status: "not_found",
            session_id: self.session_id,
            conversation_id: self.conversation_id,
        }))
    }
}

/// A result about a conversation that may be unknown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Found<T> {
    Known(T),
    NotFound(NotFound),
}

/// No conversation has this name.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct NotFound {
    /// Always `not_found`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
}

/// The state of a conversation.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConversationStatus {
    #[serde(flatten)]
    state: ConversationState,
    /// The newest event.
    last_seq: Seq,
    metadata: Metadata,
}

/// The other members of `GET /api/v1/conversations/{id}`.
#[derive(Debug, Serialize, JsonSchema)]
struct Metadata {
    #[serde(flatten)]
    settings: ConversationSettings,
    /// The oldest event that is kept.
    oldest_seq: Seq,
    /// What the running turn waits for.
    pending_approvals: Vec<PendingApproval>,
}

pub(super) async fn status(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Found<ConversationStatus>, Error> {
    let known = match params.find(call.app())? {
        Ok(known) => known,
        Err(not_found) => return Ok(Found::NotFound(not_found)),
    };
    let ConversationView { state, settings, last_seq, oldest_seq, pending_approvals } =
        ConversationView::new(&known);
    let metadata = Metadata { settings, oldest_seq, pending_approvals };
    Ok(Found::Known(ConversationStatus { state, last_seq, metadata }))
}

pub(super) async fn cancel(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Found<Cancelled>, Error> {
    match params.find(call.app())? {
        Ok(known) => Ok(Found::Known(ops::turns::interrupt(&known).await?)),
        Err(not_found) => Ok(Found::NotFound(not_found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_key_is_its_type_in_pascal_case() {
        for (snake, expected) in [
            ("task_started", "TaskStarted"),
            ("agent_message", "AgentMessage"),
            ("mcp_tool_call_begin", "McpToolCallBegin"),
            ("error", "Error"),
        ] {
            assert_eq!(pascal(snake), expected);
        }
    }
}
