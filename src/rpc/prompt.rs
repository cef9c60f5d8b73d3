//! `conversation.prompt`.

use codex_gateway_engine::protocol::TokenUsage;
use codex_gateway_engine::sandbox::Mechanism;
use codex_gateway_engine::sandbox::Tools;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use super::call_context::CallContext;
use crate::app::App;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::conversation::report::ErrorSource;
use crate::conversation::report::TurnReport;
use crate::conversation::report::TurnStatus;
use crate::error::Error;
use crate::error::Kind;
use crate::ops;
pub(super) use crate::ops::prompt::PromptRequest;
use crate::ops::prompt::StartedTurn;
use crate::ops::usage::TokenUsageSchema;
use crate::stream::Item;
use crate::stream::StreamEnd;

/// The most bytes of events in a result. A `GatewayTruncated` event stands for the others; the
/// event endpoint has them.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// The outcome of a turn.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AiResponse {
    #[schemars(extend("const" = "ai_response"))]
    r#type: &'static str,
    conversation_id: ConversationId,
    session_id: SessionId,
    turn_id: String,
    status: TurnStatus,
    /// The agent's last message.
    content: String,
    model: String,
    /// RFC 3339, in milliseconds, UTC.
    #[schemars(extend("format" = "date-time"))]
    timestamp: String,
    /// The events of the turn, each keyed by its type in PascalCase.
    #[schemars(with = "Vec<Value>")]
    events: Vec<Box<RawValue>>,
    #[schemars(with = "Option<TokenUsageSchema>")]
    usage: Option<TokenUsage>,
    /// The mechanism that confines commands.
    sandbox: Mechanism,
    /// Whether the agent may run commands.
    tools: Tools,
    /// The step that makes the sandbox work.
    sandbox_fix: Option<&'static str>,
}

/// `conversation.prompt`
pub(super) async fn prompt(
    call: &CallContext,
    request: PromptRequest,
) -> Result<AiResponse, Error> {
    let app = call.app();
    let include_deltas = request.include_deltas;
    let cancel_on_disconnect = call.request().cancel_on_disconnect();
    let StartedTurn { turn, cancel_on_drop: _cancel_on_drop, raw_events } =
        ops::prompt::prompt(app, call.caller(), request, cancel_on_disconnect).await?;

    let (mut events, mut bytes) = (Vec::new(), 0);
    let until = StreamEnd::end_of(&turn);
    let mut reader = app.event_reader(&turn.conversation, turn.after, until, raw_events);
    while let Some(item) = reader.next().await {
        match item {
            Item::Events(entries) => {
                for entry in entries.iter().filter(|entry| include_deltas || !entry.is_delta()) {
                    bytes += entry.line.len();
                    if bytes <= MAX_EVENT_BYTES {
                        let members = String::from_utf8_lossy(entry.members());
                        events.extend(event(entry.kind(), &format!("{{{members}")));
                    }
                }
            }
            Item::Notice(notice) => {
                events
                    .extend(event(notice.event_type(), &json!({ "seq": notice.seq }).to_string()));
            }
            Item::Heartbeat => {}
        }
    }
    if bytes > MAX_EVENT_BYTES {
        let members = json!({ "limit_bytes": MAX_EVENT_BYTES }).to_string();
        events.extend(event("gateway_truncated", &members));
    }
    let report = turn.report().await?;
    outcome(app, &turn, &report, events)
}

/// Builds the result of a turn. A turn that failed is an error, with the result as `partial`.
fn outcome(
    app: &App,
    turn: &Turn,
    report: &TurnReport,
    events: Vec<Box<RawValue>>,
) -> Result<AiResponse, Error> {
    let conversation = &turn.conversation;
    let sandbox = &app.facts().sandbox;
    let result = AiResponse {
        r#type: "ai_response",
        conversation_id: conversation.id().clone(),
        session_id: conversation.session_id().clone(),
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
        TurnStatus::Completed | TurnStatus::Cancelled => Ok(result),
        TurnStatus::TimedOut => Err(Error::new(
            Kind::TimedOut,
            format!(
                "the turn was interrupted after {} ms: send a longer timeout_ms",
                report.duration_ms
            ),
        )
        .with("partial", partial(result))),
        TurnStatus::Failed => {
            let (kind, message) = match &report.error {
                Some(failure) if failure.source == ErrorSource::Model => {
                    (Kind::Model, failure.message.as_str())
                }
                Some(failure) => (Kind::Engine, failure.message.as_str()),
                None => (Kind::Engine, "the turn failed"),
            };
            Err(Error::new(kind, message).with("partial", partial(result)))
        }
    }
}

/// Keys the members of an event, an object, by its type: `{"AgentMessage":{"message":"…"}}`.
fn event(kind: &str, members: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(format!(r#"{{"{}":{members}}}"#, pascal(kind))).ok()
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
        let event = event("agent_message", r#"{"b":1.50,"a":"ü"}"#).unwrap();
        assert_eq!(event.get(), r#"{"AgentMessage":{"b":1.50,"a":"ü"}}"#);
    }
}
