//! OpenAI-compatible **Chat Completions**, streaming: `POST /chat/completions` as in OpenAI's "API Reference: Chat" and
//! "Chat streaming", spoken to vLLM, Ollama, LM Studio, LiteLLM, llama.cpp, OpenRouter, DeepSeek and their like.
//!
//! How the two sides meet where they differ:
//! - Many chat templates take one system message, at the start, and roles that alternate. So `instructions` and the leading
//!   developer messages become that one message, a later developer message is a user message in a
//!   `<developer_message>` tag, and neighbours of one role are joined.
//! - Reasoning, text and calls of one turn are one assistant message; its results follow it in the order of its calls,
//!   wherever they stood. A call without a result gets one that says so; a result without its call becomes user text.
//! - `tool` messages carry text; images and audio of a result follow in a user message.
//! - `custom` tools are functions with one string `input`; tools of a namespace are `namespace__name` (64 characters at most,
//!   a hash where cut); core's own client-side `tool_search` is a function, and what it found is offered from then on.
//! - `reasoning_content`, `reasoning` and `reasoning_details` are shown as they come and carried back in the same field of
//!   the same assistant message, fragments joined. A refusal is shown as message text.
//! - Calls are handed on when the answer has ended: servers interleave their fragments and reuse their indices.
//! - No limit of tokens is sent unless core asks for one: the servers' own is the model's.
//! - Effort is sent as none, low, medium or high (minimal as low, more than high as high): the values all servers take.
//!
//! Omitted, because the API or its common servers have no place for it: hosted tools (`web_search`, `image_generation`,
//! `local_shell`, server-side `tool_search`, any other type) and the items their calls left in the history (but a
//! `local_shell_call` is kept as a call); reasoning of other wires, and reasoning of a turn with neither text nor calls;
//! compacted history of OpenAI and encrypted content (a note stands in its place); `reasoning.summary`, `include`, `store`,
//! `client_metadata`; `prompt_cache_key` (LiteLLM hands it to providers that refuse it; these servers cache by prefix, and
//! equal history encodes to equal bytes); `strict: false`; a custom tool's grammar as a constraint (the description holds
//! it); deltas of a tool's input; thinking inside Mistral's `content` lists is shown but not carried back.

mod answer;
mod calls;
mod history;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

use serde_json::{Map, Value, json};

use self::answer::Answer;
use self::history::History;
use self::tools::Tools;
use super::{Decoder, Failure, Outgoing, Wire};

/// In front of every message of this wire.
const WHO: &str = "Chat Completions provider";

/// The Chat Completions wire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chat;

impl Wire for Chat {
    fn encode(&self, ask: &Value) -> Result<Outgoing, Failure> {
        let tools = Tools::of(ask);
        let mut body = Map::new();
        body.insert("model".into(), ask["model"].clone());
        body.insert("messages".into(), History::of(ask, &tools)?);
        body.insert("stream".into(), json!(true));
        body.insert("stream_options".into(), json!({"include_usage": true}));
        options(ask, &mut body)?;
        tools.offer_in(ask, &mut body)?;
        Ok(Outgoing {
            path: "/chat/completions".into(),
            headers: Vec::new(),
            body: Value::Object(body),
        })
    }

    fn decoder(&self, ask: &Value) -> Box<dyn Decoder> {
        Box::new(Answer::new(Tools::of(ask)))
    }

    fn failure(&self, status: u16, body: &[u8]) -> Failure {
        let text = String::from_utf8_lossy(body);
        let value = serde_json::from_str(&text).unwrap_or_else(|_| json!(text.trim()));
        refusal(Some(status), &value)
    }
}

/// Everything of the request that is neither a message nor a tool.
fn options(ask: &Value, body: &mut Map<String, Value>) -> Result<(), Failure> {
    for (from, to) in [
        ("/temperature", "temperature"),
        ("/top_p", "top_p"),
        ("/max_output_tokens", "max_tokens"),
        ("/service_tier", "service_tier"),
        ("/text/verbosity", "verbosity"),
    ] {
        if let Some(value) = ask.pointer(from).filter(|value| !value.is_null()) {
            body.insert(to.into(), value.clone());
        }
    }
    if let Some(effort) = at(ask, "/reasoning/effort").as_str() {
        let effort = match effort {
            "minimal" => "low",
            "xhigh" | "max" | "ultra" => "high",
            known_or_custom => known_or_custom,
        };
        body.insert("reasoning_effort".into(), json!(effort));
    }
    let format = at(ask, "/text/format");
    match format["type"].as_str() {
        None | Some("text") => {}
        Some("json_object") => {
            drop(body.insert("response_format".into(), json!({"type": "json_object"})))
        }
        Some("json_schema") => {
            let name = format["name"].as_str().unwrap_or("answer");
            let schema = json!({"name": name, "schema": format["schema"], "strict": format["strict"] == true});
            body.insert(
                "response_format".into(),
                json!({"type": "json_schema", "json_schema": schema}),
            );
        }
        Some(other) => return Err(inexpressible(&format!("the text format `{other}`"))),
    }
    Ok(())
}

/// What a provider's error says, in an answer with an error status or in the midst of a stream.
fn refusal(status: Option<u16>, body: &Value) -> Failure {
    let body = body.get(0).unwrap_or(body);
    let error = match &body["error"] {
        Value::Null => body,
        error => error,
    };
    let said = [&error["message"], error, &body["message"], &error["detail"]]
        .into_iter()
        .find_map(Value::as_str);
    let said = said.map_or_else(|| error.to_string(), str::to_owned);
    // OpenRouter tells here what its own provider said.
    let raw = at(error, "/metadata/raw").as_str().unwrap_or_default();
    let code = error["code"].as_str().unwrap_or_default();
    let number = error["code"]
        .as_u64()
        .or_else(|| code.parse().ok())
        .and_then(|code| u16::try_from(code).ok());
    let in_stream = status.is_none();
    let status = status.or(number.filter(|number| (400..600).contains(number)));
    let sort = Sort::of(status, &[code, kind(error)], &format!("{said} {raw}").to_lowercase());
    // Servers quote the key that they refuse.
    let said = if sort == Sort::Key {
        "it refused the credentials of this provider"
    } else {
        said.as_str()
    };
    let status = status.map_or_else(String::new, |status| format!(" ({status})"));
    let more = if raw.is_empty() || sort == Sort::Key { String::new() } else { format!(": {raw}") };
    // For core an overload is final. In the stream nobody has tried again yet: there it is an error like any other.
    let sort = if in_stream && sort == Sort::Overload { Sort::Server } else { sort };
    let (code, retryable) = sort.for_core();
    Failure { code, message: shortened(&format!("{WHO}{status}: {said}{more}")), retryable }
}

/// What went wrong, as far as core treats it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Context,
    Quota,
    NotIncluded,
    Cyber,
    Key,
    RateLimit,
    Overload,
    Request,
    Server,
}

impl Sort {
    /// From the status, the machine-readable `codes`, and what is `said` in lower case: local servers give no code.
    fn of(status: Option<u16>, codes: &[&str], said: &str) -> Self {
        let code = |names: &[&str]| codes.iter().any(|code| names.contains(code));
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| said.contains(phrase));
        match status {
            _ if code(&["context_length_exceeded", "exceed_context_size_error"]) => Self::Context,
            _ if code(&["insufficient_quota", "insufficient_balance", "budget_exceeded"]) => {
                Self::Quota
            }
            _ if code(&["usage_not_included"]) => Self::NotIncluded,
            _ if code(&["cyber_policy"]) => Self::Cyber,
            _ if code(&["invalid_api_key", "authentication_error", "AuthenticationError"]) => {
                Self::Key
            }
            Some(401) => Self::Key,
            Some(402) => Self::Quota,
            _ if says(&[
                "exceeded your current quota",
                "insufficient balance",
                "insufficient credits",
            ]) =>
            {
                Self::Quota
            }
            Some(429) => Self::RateLimit,
            _ if code(&["rate_limit_exceeded", "rate_limit_error", "RateLimitError"]) => {
                Self::RateLimit
            }
            _ if says(&CONTEXT_PHRASES) => Self::Context,
            Some(503 | 529) => Self::Overload,
            _ if code(&[
                "server_is_overloaded",
                "slow_down",
                "overloaded_error",
                "unavailable_error",
            ]) =>
            {
                Self::Overload
            }
            Some(408 | 409 | 425) => Self::Server,
            Some(400..=499) => Self::Request,
            None if code(&[
                "invalid_request_error",
                "BadRequestError",
                "not_found_error",
                "invalid_prompt",
            ]) =>
            {
                Self::Request
            }
            _ => Self::Server,
        }
    }

    /// The code for core, and whether to try again. A refused key is final for core only as an invalid prompt.
    fn for_core(self) -> (&'static str, bool) {
        match self {
            Self::Context => ("context_length_exceeded", false),
            Self::Quota => ("insufficient_quota", false),
            Self::NotIncluded => ("usage_not_included", false),
            Self::Cyber => ("cyber_policy", false),
            Self::Key | Self::Request => ("invalid_prompt", false),
            Self::RateLimit => ("rate_limit_exceeded", true),
            Self::Overload => ("server_is_overloaded", true),
            Self::Server => ("server_error", true),
        }
    }
}

/// How servers without a code for it say that the prompt is too long: OpenAI and vLLM (two), vLLM before 0.7 (two),
/// llama.cpp, LM Studio (two), Anthropic and Bedrock behind LiteLLM, Ollama, LiteLLM itself.
const CONTEXT_PHRASES: [&str; 11] = [
    "maximum context length",
    "context length is only",
    "is too long to fit into the model",
    "maximum model length",
    "exceeds the available context size",
    "context length of only",
    "context the overflows",
    "prompt is too long",
    "input is too long for requested model",
    "exceeds the context window",
    "contextwindowexceeded",
];

fn inexpressible(what: &str) -> Failure {
    let message = format!("{WHO}: this API cannot express {what}");
    Failure { code: "invalid_prompt", message, retryable: false }
}

/// The provider does not speak as this API is spoken.
fn broken(what: &str) -> Failure {
    Failure {
        code: "invalid_stream",
        message: shortened(&format!("{WHO} {what}")),
        retryable: true,
    }
}

/// Enough of a text to recognise it by.
fn shortened(text: &str) -> String {
    const ENOUGH: usize = 2000;
    match text.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What stands there, null where nothing does.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn kind(value: &Value) -> &str {
    value["type"].as_str().unwrap_or_default()
}

/// Joins a fragment of reasoning to what came before in its field.
fn absorb(fields: &mut Map<String, Value>, field: &str, value: &Value) {
    match (fields.get_mut(field), value) {
        (Some(Value::String(whole)), Value::String(more)) => whole.push_str(more),
        (Some(Value::Array(whole)), Value::Array(more)) => {
            more.iter().for_each(|detail| join(whole, detail))
        }
        (_, Value::Array(more)) => {
            let mut whole = Vec::new();
            more.iter().for_each(|detail| join(&mut whole, detail));
            fields.insert(field.to_owned(), Value::Array(whole));
        }
        (_, value) => drop(fields.insert(field.to_owned(), value.clone())),
    }
}

/// OpenRouter streams the text of a detail in pieces, all but encrypted ones, and refuses them back unjoined.
fn join(details: &mut Vec<Value>, piece: &Value) {
    let same = |whole: &Value| {
        matches!(kind(piece), "reasoning.text" | "reasoning.summary")
            && kind(whole) == kind(piece)
            && whole["index"] == piece["index"]
    };
    let (Some(whole), Some(piece_fields)) = (
        details.last_mut().filter(|whole| same(whole)).and_then(Value::as_object_mut),
        piece.as_object(),
    ) else {
        details.push(piece.clone());
        return;
    };
    for (key, value) in piece_fields.iter().filter(|(_, value)| !value.is_null()) {
        match (whole.get_mut(key), value) {
            (Some(Value::String(text)), Value::String(more))
                if key == "text" || key == "summary" =>
            {
                text.push_str(more)
            }
            _ => drop(whole.insert(key.clone(), value.clone())),
        }
    }
}
