//! `conversation.prompt`, `conversation.status`, `conversation.cancel`.

use std::sync::Arc;

use futures::StreamExt;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::api::conversations;
use crate::api::json::explain;
use crate::api::prompt::PromptRequest;
use crate::api::prompt::selector;
use crate::api::tied::Tied;
use crate::conversation::Conversation;
use crate::conversation::Turn;
use crate::conversation::log::Entry;
use crate::conversation::registry::Known;
use crate::conversation::registry::Selector;
use crate::conversation::report::Report;
use crate::conversation::report::Status;
use crate::error::Error;
use crate::error::Kind;
use crate::gateway::Context;
use crate::gateway::Gateway;
use crate::stream;
use crate::stream::Item;

/// What an answer's events may weigh. Those beyond it are on the event endpoint, and the answer says
/// that they are missing.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// Named params.
fn decode<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, Error> {
    let text = params.map_or("{}", RawValue::get);
    if text.starts_with('[') {
        return Err(Error::invalid("params: expected an object of named params, got a list"));
    }
    serde_json::from_str(text).map_err(|error| explain(&error, false))
}

/// Runs a prompt and answers when its turn has ended.
pub(super) async fn prompt(
    gateway: &Arc<Gateway>,
    context: &Context,
    params: Option<&RawValue>,
) -> Result<Value, Error> {
    let request: PromptRequest = decode(params)?;
    let (include_deltas, raw) = (request.include_deltas, request.raw_events);
    let turn = request.check(gateway)?.start(gateway, Tied::wanted(context)).await?;
    let _tied = Tied::new(context, &turn);

    let (mut events, mut bytes) = (Vec::new(), 0);
    let until = turn.until_its_end();
    let items = stream::events(gateway.reading(&turn.conversation, turn.after, until, raw));
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
            Item::Own(own) => events.push(json!({ pascal(own.kind()): { "seq": own.seq } })),
            Item::Heartbeat => {}
        }
    }
    if bytes > MAX_EVENT_BYTES {
        events.push(json!({ "GatewayTruncated": { "limit_bytes": MAX_EVENT_BYTES } }));
    }
    let report = turn.report().await?;
    answer(gateway, &turn, &report, events)
}

fn answer(
    gateway: &Gateway,
    turn: &Turn,
    report: &Report,
    events: Vec<Value>,
) -> Result<Value, Error> {
    let conversation = &turn.conversation;
    let result = json!({
        "type": "ai_response",
        "conversation_id": conversation.id(),
        "session_id": conversation.session_id(),
        "turn_id": &*turn.id,
        "status": report.status,
        "content": report.message,
        "model": conversation.snapshot().model,
        "timestamp": conversations::rfc3339(chrono::Utc::now()),
        "events": events,
        "usage": report.usage,
        "sandbox": gateway.facts().sandbox.mechanism,
        "tools": gateway.facts().sandbox.tools,
        "sandbox_fix": gateway.facts().sandbox.fix,
    });
    match report.status {
        Status::Completed | Status::Cancelled => Ok(result),
        Status::TimedOut => Err(Error::new(
            Kind::TimedOut,
            format!(
                "the turn was interrupted after {} ms: send a longer timeout_ms",
                report.duration_ms
            ),
        )
        .with("partial", result)),
        Status::Failed => {
            let (kind, message) = match &report.error {
                Some(failure) if failure.source == "model" => {
                    (Kind::Model, failure.message.as_str())
                }
                Some(failure) => (Kind::Engine, failure.message.as_str()),
                None => (Kind::Engine, "the turn failed"),
            };
            Err(Error::new(kind, message).with("partial", result))
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
#[derive(Deserialize)]
struct Which {
    session_id: Option<String>,
    conversation_id: Option<String>,
}

impl Which {
    fn find(self, gateway: &Gateway) -> Result<Result<Known, Value>, Error> {
        let chosen: Selector =
            selector(self.session_id.as_deref(), self.conversation_id.as_deref())?;
        if chosen.session_id.is_none() && chosen.conversation_id.is_none() {
            return Err(Error::invalid("expected session_id or conversation_id"));
        }
        Ok(gateway.conversations().find(&chosen).ok_or_else(|| {
            // Not an error: clients ask to learn whether a session exists.
            let mut unknown = Map::new();
            unknown.insert("status".into(), "not_found".into());
            if let Some(session_id) = &chosen.session_id {
                unknown.insert("session_id".into(), session_id.as_str().into());
            }
            if let Some(id) = &chosen.conversation_id {
                unknown.insert("conversation_id".into(), id.as_str().into());
            }
            unknown.into()
        }))
    }
}

/// What a conversation is doing.
pub(super) fn status(gateway: &Gateway, params: Option<&RawValue>) -> Result<Value, Error> {
    let known = match decode::<Which>(params)?.find(gateway)? {
        Ok(known) => known,
        Err(not_found) => return Ok(not_found),
    };
    let mut document = conversations::document(&known);
    // Clients look for what describes the conversation under `metadata`.
    let mut metadata = Map::new();
    if let Some(document) = document.as_object_mut() {
        let top = ["conversation_id", "session_id", "status", "turn_id", "last_seq"];
        for (name, value) in document.iter().filter(|(name, _)| !top.contains(&name.as_str())) {
            metadata.insert(name.clone(), value.clone());
        }
        document.retain(|name, _| top.contains(&name.as_str()));
        document.insert("metadata".into(), metadata.into());
    }
    Ok(document)
}

/// Interrupts what a conversation is doing; answers when it has stopped.
pub(super) async fn cancel(gateway: &Gateway, params: Option<&RawValue>) -> Result<Value, Error> {
    let known = match decode::<Which>(params)?.find(gateway)? {
        Ok(known) => known,
        Err(not_found) => return Ok(not_found),
    };
    let (cancelled, session_id, conversation_id) = match &known {
        Known::Live(conversation) => (
            stop(conversation).await?,
            conversation.session_id().to_string(),
            conversation.id().to_string(),
        ),
        Known::Recorded(record) => {
            (None, record.session_id.clone(), record.conversation_id.clone())
        }
    };
    Ok(json!({
        "cancelled": cancelled.is_some(),
        "session_id": session_id,
        "conversation_id": conversation_id,
        "turn_id": cancelled,
    }))
}

/// The turn that was stopped; `None` where none was running, or it completed first.
async fn stop(conversation: &Arc<Conversation>) -> Result<Option<String>, Error> {
    let Some(turn) = conversation.stop(None) else { return Ok(None) };
    let report = turn.report().await?;
    Ok((report.status != Status::Completed).then(|| turn.id.to_string()))
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
