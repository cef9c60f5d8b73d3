//! The **Anthropic Messages API**, streaming: `POST /v1/messages`, `anthropic-version: 2026-10-21`.
//! Documentation: Claude Platform Docs, pages "Messages", "Streaming messages", "Thinking",
//! "Preserved thinking", "Effort", "Structured outputs", "Prompt caching", "Stop reasons",
//! "Errors", and the types of the official SDKs.
//!
//! The differences between Claude models are in `claude.rs`, derived from the model's name:
//! budgeted thinking up to 4.5, adaptive thinking with an effort from 4.6 on, thinking that cannot
//! be disabled and is bound to its conversation from 5.1 on. A model of another maker behind this
//! API is treated like Claude 4 without structured outputs.
//!
//! A refusal (`stop_reason: "refusal"` with `stop_details`) becomes an assistant message. A full
//! context window (`model_context_window_exceeded`) is a `context_length_exceeded` failure, as a
//! retry cannot help.
//!
//! Omitted:
//! - hosted tools (`web_search`, `image_generation`, `local_shell`, `tool_search`) and their items
//!   in the history; shell calls of an earlier provider remain, as tool calls;
//! - `strict` of a tool: its schema is sent, adherence is not enforced;
//! - reasoning of another wire or model (signatures are valid for one model only), and all of it
//!   where thinking is disabled;
//! - audio, unknown content, encrypted agent messages and compactions by another provider: a note
//!   in brackets replaces them;
//! - `text.verbosity`, `service_tier`, `prompt_cache_key` (caching is by prefix), `store`,
//!   `include`, `metadata`, citations;
//! - `temperature` and `top_p`, which this version of the API rejects;
//! - effort `none` where thinking cannot be disabled: `low` is sent;
//! - thinking where `max_output_tokens` is under 2048 or a tool is forced;
//! - JSON schema keywords that structured outputs do not support: they move into the description.

#![expect(
    clippy::indexing_slicing,
    reason = "serde_json returns null for absent members; only literals are written to"
)]

mod api;
mod claude;
mod decoder;
mod history;
mod properties;
mod schema;
#[cfg(test)]
mod tests;
mod tools;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use self::api::API;
use self::api::cache;
use self::api::invalid;
use self::claude::Claude;
use self::decoder::AnthropicDecoder;
use self::history::History;
use self::tools::Tools;
use crate::Decoder;
use crate::Outgoing;
use crate::Wire;
use crate::WireError;
use crate::failure;

const VERSION: &str = "2026-10-21";
/// Enables `block_binding`, with which thinking that no longer fits its conversation is dropped.
/// Without it one changed tool, such as an MCP server that started late, would make the API reject
/// every later request of the conversation.
const BINDING_BETA: &str = "thinking-binding-controls-2026-08-01";

/// The wire of the Anthropic Messages API.
#[derive(Debug, Clone, Copy)]
pub struct Anthropic;

impl Wire for Anthropic {
    fn encode(&self, request: &Value) -> Result<Outgoing, WireError> {
        let model = request["model"].as_str().filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| invalid("the request names no model"))?;
        let claude = Claude::named(model);
        let tools = Tools::of(request);
        let choice = tools.choice(request)?;
        let mut history = History::of(request, model, &tools)?;
        let max_tokens = request["max_output_tokens"].as_u64().filter(|max| *max > 0);
        let max_tokens = max_tokens.unwrap_or_else(|| claude.max_tokens());
        let forced = matches!(choice["type"].as_str(), Some("any" | "tool"));
        let plan = claude.plan(request, forced, max_tokens, history.lacks_thinking())?;

        let mut system = std::mem::take(&mut history.system);
        let mut config = Map::new();
        config.extend(plan.effort.map(|effort| ("effort".to_owned(), json!(effort))));
        let format = schema::format(request, &claude, &mut system);
        config.extend(format.map(|format| ("format".to_owned(), format)));
        cache(system.last_mut());
        let mut turns = history.turns(plan.thinks);
        let user_turns = turns.iter_mut().rev().filter(|turn| turn.user);
        user_turns.take(2).for_each(|turn| cache(turn.blocks.last_mut()));
        let (specs, choice) = match tools.specs() {
            specs if specs.is_empty() => {
                (history::tools_of_calls(&turns), json!({ "type": "none" }))
            }
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

    fn decoder(&self, request: &Value, provider: &str) -> Box<dyn Decoder> {
        Box::new(AnthropicDecoder::new(request, provider))
    }

    fn error(&self, status: u16, body: &[u8]) -> WireError {
        failure::of_body(API, status, body)
    }
}
