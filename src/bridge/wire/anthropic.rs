//! The Anthropic Messages API, streaming: `POST /v1/messages`, `anthropic-version: 2026-10-21`. Documentation: Claude
//! Platform Docs, pages "Messages", "Streaming messages", "Thinking", "Preserved thinking", "Effort", "Structured outputs",
//! "Prompt caching", "Stop reasons", "Errors", and the types of the official SDKs.
//!
//! What differs between Claude models is in `claude.rs`, read from the model's name: budgeted thinking up to 4.5, adaptive
//! thinking with an effort from 4.6 on, thinking that cannot be turned off and is bound to its conversation from 5.1 on.
//! A model of another maker behind this API is treated like Claude 4 without structured outputs.
//!
//! A refusal (the API marks it: `stop_reason: "refusal"` with `stop_details`) becomes an assistant message. A full context
//! window (`model_context_window_exceeded`) is a `context_length_exceeded` failure, as a retry cannot help.
//!
//! Omitted:
//! - hosted tools (`web_search`, `image_generation`, `local_shell`, `tool_search`) and their items in the history; shell calls
//!   of an earlier provider stay, as tool calls; `strict` of a tool (its schema is sent, adherence is not enforced);
//! - reasoning of another wire or model (signatures hold for one model only), and all of it where thinking is off;
//! - audio, unknown content, encrypted agent messages and compactions by another provider: a note in brackets says so;
//! - `text.verbosity`, `service_tier`, `prompt_cache_key` (caching is by prefix), `store`, `include`, `metadata`, citations;
//! - `temperature` and `top_p` (this version of the API rejects them);
//! - effort `none` where thinking cannot be turned off: `low` is sent; thinking where `max_output_tokens` is under 2048 or a
//!   tool is forced; JSON schema keywords that structured outputs do not know (they move into the description).

#![expect(
    clippy::indexing_slicing,
    reason = "serde_json answers null for what is not there; only literals are written to"
)]

use super::{Decoder, Failure, Outgoing, Wire};
use answer::Answer;
use claude::Claude;
use history::History;
use serde_json::{Map, Value, json};
use tools::Tools;

mod answer;
mod claude;
mod history;
mod schema;
mod tools;

#[cfg(test)]
mod tests;

const WIRE: &str = "anthropic";
const VERSION: &str = "2026-10-21";
/// Lets `block_binding` say that thinking which no longer fits its conversation is dropped. Without it one changed tool
/// (an MCP server that came up late, say) would make the API refuse every later request of the conversation.
const BINDING_BETA: &str = "thinking-binding-controls-2026-08-01";

/// The wire of the Anthropic Messages API.
#[derive(Debug, Clone, Copy)]
pub struct Anthropic;

impl Wire for Anthropic {
    fn encode(&self, ask: &Value) -> Result<Outgoing, Failure> {
        let model = ask["model"].as_str().filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| invalid("the request names no model"))?;
        let claude = Claude::named(model);
        let tools = Tools::offered(ask);
        let choice = tools.choice(ask)?;
        let mut history = History::read(ask, model, &tools)?;
        let max_tokens = ask["max_output_tokens"].as_u64().filter(|max| *max > 0);
        let max_tokens = max_tokens.unwrap_or_else(|| claude.max_tokens());
        let forced = matches!(choice["type"].as_str(), Some("any" | "tool"));
        let plan = claude.plan(ask, forced, max_tokens, history.lacks_thinking())?;

        let mut system = std::mem::take(&mut history.system);
        let mut config = Map::new();
        config.extend(plan.effort.map(|effort| ("effort".to_owned(), json!(effort))));
        config.extend(
            schema::format(ask, &claude, &mut system).map(|format| ("format".to_owned(), format)),
        );
        cache(system.last_mut());
        let mut turns = history.turns(plan.thinks);
        let asked = turns.iter_mut().rev().filter(|turn| turn.user);
        asked.take(2).for_each(|turn| cache(turn.blocks.last_mut()));
        let (specs, choice) = match tools.specs() {
            specs if specs.is_empty() => (history::called(&turns), json!({"type": "none"})),
            specs => (specs, choice),
        };

        let mut headers = vec![("anthropic-version", VERSION.to_owned())];
        if plan.thinking.as_ref().is_some_and(|thinking| !thinking["block_binding"].is_null()) {
            headers.push(("anthropic-beta", BINDING_BETA.to_owned()));
        }
        let mut body = Map::new();
        let mut set = |key: &str, value: Value| _ = body.insert(key.to_owned(), value);
        set("model", json!(model));
        set("max_tokens", json!(max_tokens));
        set("stream", json!(true));
        set("messages", turns.into_iter().map(history::Turn::message).collect());
        if !system.is_empty() {
            set("system", Value::Array(system));
        }
        if !specs.is_empty() {
            set("tools", Value::Array(specs));
            set("tool_choice", choice);
        }
        if !config.is_empty() {
            set("output_config", Value::Object(config));
        }
        if let Some(thinking) = plan.thinking {
            set("thinking", thinking);
        }
        Ok(Outgoing { path: "/v1/messages".to_owned(), headers, body: Value::Object(body) })
    }

    fn decoder(&self, ask: &Value) -> Box<dyn Decoder> {
        Box::new(Answer::to(ask))
    }

    fn failure(&self, status: u16, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Value>(body) {
            Ok(said) if said["error"].is_object() => refused(status, &said),
            _ => {
                let shown = String::from_utf8_lossy(body.get(..500).unwrap_or(body)).into_owned();
                refused(status, &json!({"error": {"type": "no JSON error", "message": shown}}))
            }
        }
    }
}

fn invalid(why: &str) -> Failure {
    Failure {
        code: "invalid_prompt",
        message: format!("Anthropic cannot be asked: {why}."),
        retryable: false,
    }
}

fn broken(why: &str) -> Failure {
    Failure {
        code: "broken_stream",
        message: format!("Anthropic's stream is broken: {why}."),
        retryable: true,
    }
}

/// The API's own error, from the body of an answer or, with status 0, from the stream.
fn refused(status: u16, said: &Value) -> Failure {
    let kind = said["error"]["type"].as_str().unwrap_or("an unnamed error");
    let text = said["error"]["message"].as_str().unwrap_or_default();
    let low = text.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| low.contains(part));
    let (code, retryable) = match (kind, status) {
        ("request_too_large", _) | (_, 413) => ("context_length_exceeded", false),
        ("billing_error", _) | (_, 402) => ("insufficient_quota", false),
        ("rate_limit_error", _) | (_, 429) => ("rate_limit_exceeded", true),
        // For core that is final. In the stream nobody has tried again yet: there it is an error like any other.
        ("overloaded_error", 1..) | (_, 529 | 503) => ("server_is_overloaded", true),
        ("overloaded_error" | "api_error" | "timeout_error" | "conflict_error", _)
        | (_, 408 | 409 | 500..) => ("server_error", true),
        _ if says(&["prompt is too long", "exceed context limit", "context window"]) => {
            ("context_length_exceeded", false)
        }
        _ if says(&["credit balance is too low", "usage limits"]) => ("insufficient_quota", false),
        // Wrong keys and wrong models as well: core shows the message of an invalid prompt and does not try again.
        (_, 400..500) => ("invalid_prompt", false),
        (kind, _)
            if kind.starts_with("invalid")
                || kind.starts_with("auth")
                || kind.starts_with("perm") =>
        {
            ("invalid_prompt", false)
        }
        _ => ("server_error", true),
    };
    let text: String = text.chars().take(2000).collect();
    let place =
        if status == 0 { "in the stream".to_owned() } else { format!("with status {status}") };
    let id = said["request_id"].as_str().map(|id| format!(" (request {id})")).unwrap_or_default();
    Failure { code, message: format!("Anthropic failed {place}: {kind}: {text}{id}"), retryable }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text block; the API refuses blank ones.
fn text(said: &str) -> Option<Value> {
    (!said.trim().is_empty()).then(|| json!({"type": "text", "text": said}))
}

/// Marks the end of a prefix worth caching. The API takes four marks: tools, system and the last two user turns have one.
fn cache(block: Option<&mut Value>) {
    if let Some(block) = block.and_then(Value::as_object_mut) {
        block.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
    }
}
