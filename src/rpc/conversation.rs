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
use crate::api::cancel_on_disconnect::CancelOnDrop;
use crate::api::conversations::Document;
pub(super) use crate::api::conversations::act::Cancelled;
use crate::api::conversations::act::interrupt;
pub(super) use crate::api::prompt::PromptRequest;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::Turn;
use crate::conversation::id::ConversationKey;
use crate::conversation::log::Entry;
use crate::conversation::report::Report;
use crate::conversation::report::Status;
use crate::error::Error;
use crate::error::Kind;
use crate::stream;
use crate::stream::Item;
use crate::stream::StreamEnd;
use crate::text::excerpt;

/// What an answer's events may weigh. Those beyond it are on the event endpoint, and the answer says
/// that they are missing.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// What a turn came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AiResponse {
    /// Always `ai_response`.
    r#type: &'static str,
    conversation_id: String,
    session_id: String,
    turn_id: String,
    #[schemars(with = "String")]
    status: Status,
    /// The agent's last message.
    content: String,
    model: String,
    /// RFC 3339, in milliseconds, UTC.
    timestamp: String,
    /// Core's events, each under the PascalCase of its type.
    events: Vec<Value>,
    #[schemars(with = "Option<Value>")]
    usage: Option<TokenUsage>,
    /// What protects tool calls.
    #[schemars(with = "String")]
    sandbox: Mechanism,
    #[schemars(with = "String")]
    tools: Tools,
    sandbox_fix: Option<&'static str>,
}

/// Runs a prompt and answers when its turn has ended.
pub(super) async fn prompt(
    call: &CallContext,
    request: PromptRequest,
) -> Result<AiResponse, Error> {
    let (app, context) = (call.app(), call.request());
    let (include_deltas, raw) = (request.include_deltas, request.raw_events);
    let checked = request.check(app, call.caller())?;
    let (turn, _tied) = checked.start(app, CancelOnDrop::wanted(context)).await?;

    let (mut events, mut bytes) = (Vec::new(), 0);
    let until = StreamEnd::end_of(&turn);
    let items = stream::events(app.reading(&turn.conversation, turn.after, until, raw));
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
            Item::Notice(own) => events.push(json!({ pascal(own.kind()): { "seq": own.seq } })),
            Item::Heartbeat => {}
        }
    }
    if bytes > MAX_EVENT_BYTES {
        events.push(json!({ "GatewayTruncated": { "limit_bytes": MAX_EVENT_BYTES } }));
    }
    let report = turn.report().await?;
    answer(app, &turn, &report, events)
}

fn answer(
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

/// An event under its type's name: `{"AgentMessage":{"message":"…"}}`.
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

/// Which conversation the params mean.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ConversationParams {
    session_id: Option<String>,
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

    /// The conversation.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub(super) fn require(&self, app: &App) -> Result<ConversationRef, Error> {
        app.conversations().find(&self.key()?).ok_or_else(|| {
            let name = self.conversation_id.as_deref().or(self.session_id.as_deref());
            let name = excerpt(name.unwrap_or_default());
            Error::new(Kind::NotFound, format!("no conversation is known as {name}"))
        })
    }

    /// The conversation, or the result that says that there is none: clients ask to learn whether a
    /// session exists.
    fn find(self, app: &App) -> Result<Result<ConversationRef, NotFound>, Error> {
        let found = app.conversations().find(&self.key()?);
        Ok(found.ok_or(NotFound {
            status: "not_found",
            session_id: self.session_id,
            conversation_id: self.conversation_id,
        }))
    }
}

/// A result about a conversation, if there is one.
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

/// What a conversation is doing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StatusOf {
    conversation_id: Value,
    session_id: Value,
    /// `idle`, `running`, `waiting_approval` or `closed`.
    status: Value,
    turn_id: Value,
    last_seq: Value,
    /// The rest of what `GET /api/v1/conversations/{id}` says.
    metadata: Map<String, Value>,
}

pub(super) async fn status(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Found<StatusOf>, Error> {
    let known = match params.find(call.app())? {
        Ok(known) => known,
        Err(not_found) => return Ok(Found::NotFound(not_found)),
    };
    let document = serde_json::to_value(Document::of(&known));
    let mut document = document.map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    let mut take = |member: &str| {
        document.as_object_mut().and_then(|document| document.remove(member)).unwrap_or_default()
    };
    Ok(Found::Known(StatusOf {
        conversation_id: take("conversation_id"),
        session_id: take("session_id"),
        status: take("status"),
        turn_id: take("turn_id"),
        last_seq: take("last_seq"),
        metadata: match document {
            Value::Object(metadata) => metadata,
            _ => Map::new(),
        },
    }))
}

pub(super) async fn cancel(
    call: &CallContext,
    params: ConversationParams,
) -> Result<Found<Cancelled>, Error> {
    match params.find(call.app())? {
        Ok(known) => Ok(Found::Known(interrupt(&known).await?)),
        Err(not_found) => Ok(Found::NotFound(not_found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_key_is_the_pascal_case_of_its_type() {
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
