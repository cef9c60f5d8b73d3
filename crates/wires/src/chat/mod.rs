//! OpenAI-compatible **Chat Completions**, streaming: `POST /chat/completions` as in OpenAI's "API
//! Reference: Chat" and "Chat streaming". Spoken to vLLM, Ollama, LM Studio, LiteLLM, llama.cpp,
//! OpenRouter, DeepSeek and similar servers.
//!
//! Differences and how they are bridged:
//! - Many chat templates accept one system message, at the start, and alternating roles. So
//!   `instructions` and the leading developer messages become that message, a later developer
//!   message becomes a user message in a `<developer_message>` tag, and adjacent messages of one
//!   role are joined.
//! - Reasoning, text and calls of one turn form one assistant message. Its results follow it in the
//!   order of its calls, wherever they were. A call without a result gets one that says so; a
//!   result without its call becomes user text.
//! - `tool` messages carry text only; images and audio of a result follow in a user message.
//! - `custom` tools are functions with one string `input`. Tools of a namespace are named
//!   `namespace__name`, at most 64 characters, with a hash if shortened. Core's own client-side
//!   `tool_search` is a function, and the tools it finds are offered from then on.
//! - `reasoning_content`, `reasoning` and `reasoning_details` are shown as they arrive and return
//!   in the same field of the same assistant message, fragments joined. A refusal is shown as
//!   message text.
//! - Calls are emitted when the answer ends: servers interleave their fragments and reuse their
//!   indices.
//! - No token limit is sent unless core sets one: the servers' own limit is the model's.
//! - Effort is sent as none, low, medium or high, the values all servers accept: minimal becomes
//!   low, and everything above high becomes high.
//!
//! Omitted, because the API or its common servers do not support it:
//! - hosted tools (`web_search`, `image_generation`, `local_shell`, server-side `tool_search`, any
//!   other type) and their calls in the history; a `local_shell_call` is kept as a call;
//! - reasoning of other wires, and reasoning of a turn with neither text nor calls;
//! - OpenAI's compacted history and encrypted content: a note replaces it;
//! - `reasoning.summary`, `include`, `store`, `client_metadata`, `strict: false`;
//! - `prompt_cache_key`: LiteLLM forwards it to providers that reject it, and these servers cache
//!   by prefix, where equal history encodes to equal bytes;
//! - the grammar of a custom tool as a constraint: its description contains it;
//! - deltas of a tool's input; thinking inside Mistral's `content` lists is shown but not returned.

mod api;
mod calls;
mod decoder;
mod history;
mod reasoning;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use self::api::API;
use self::api::inexpressible;
use self::decoder::ChatDecoder;
use self::history::History;
use self::tools::Tools;
use crate::Decoder;
use crate::Outgoing;
use crate::Wire;
use crate::WireError;
use crate::failure;
use crate::json::at;
use crate::json::kind;

/// The Chat Completions wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chat;

impl Wire for Chat {
    fn encode(&self, request: &Value) -> Result<Outgoing, WireError> {
        let tools = Tools::of(request);
        let mut body = Map::new();
        body.insert("model".into(), request["model"].clone());
        body.insert("messages".into(), History::of(request, &tools)?);
        body.insert("stream".into(), json!(true));
        body.insert("stream_options".into(), json!({ "include_usage": true }));
        options(request, &mut body)?;
        tools.offer(request, &mut body)?;
        Ok(Outgoing {
            path: "/chat/completions".into(),
            headers: Vec::new(),
            body: Value::Object(body),
        })
    }

    fn decoder(&self, request: &Value, provider: &str) -> Box<dyn Decoder> {
        Box::new(ChatDecoder::new(Tools::of(request), provider))
    }

    fn error(&self, status: u16, body: &[u8]) -> WireError {
        failure::of_body(API, status, body)
    }
}

/// Copies the options that are neither a message nor a tool.
fn options(request: &Value, body: &mut Map<String, Value>) -> Result<(), WireError> {
    for (from, to) in [
        ("/temperature", "temperature"),
        ("/top_p", "top_p"),
        ("/max_output_tokens", "max_tokens"),
        ("/service_tier", "service_tier"),
        ("/text/verbosity", "verbosity"),
    ] {
        if let Some(value) = request.pointer(from).filter(|value| !value.is_null()) {
            body.insert(to.into(), value.clone());
        }
    }
    if let Some(effort) = at(request, "/reasoning/effort").as_str() {
        let effort = match effort {
            "minimal" => "low",
            "xhigh" | "max" | "ultra" => "high",
            known_or_custom => known_or_custom,
        };
        body.insert("reasoning_effort".into(), json!(effort));
    }
    if let Some(format) = response_format(at(request, "/text/format"))? {
        body.insert("response_format".into(), format);
    }
    Ok(())
}

fn response_format(format: &Value) -> Result<Option<Value>, WireError> {
    match kind(format) {
        "" | "text" => Ok(None),
        "json_object" => Ok(Some(json!({ "type": "json_object" }))),
        "json_schema" => {
            let name = format["name"].as_str().unwrap_or("answer");
            let strict = format["strict"] == true;
            let schema = json!({ "name": name, "schema": format["schema"], "strict": strict });
            Ok(Some(json!({ "type": "json_schema", "json_schema": schema })))
        }
        other => Err(inexpressible(format_args!("the text format `{other}`"))),
    }
}
