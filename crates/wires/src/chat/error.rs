//! Errors of Chat Completions servers, which agree on no form and on few codes.

use serde_json::Value;

use super::API;
use crate::error::Code;
use crate::error::WireError;
use crate::json::MESSAGE_CHARS;
use crate::json::at;
use crate::json::excerpt;
use crate::json::kind;

/// Reads an error, from the body of an answer with an error status or, without one, from the
/// stream.
pub(super) fn provider_error(status: Option<u16>, body: &Value) -> WireError {
    let body = body.get(0).unwrap_or(body);
    let error = match &body["error"] {
        Value::Null => body,
        error => error,
    };
    let message = [&error["message"], error, &body["message"], &error["detail"]]
        .into_iter()
        .find_map(Value::as_str);
    let message = message.map_or_else(|| error.to_string(), str::to_owned);
    // OpenRouter puts the words of its own provider here.
    let raw = at(error, "/metadata/raw").as_str().unwrap_or_default();
    let code = error["code"].as_str().unwrap_or_default();
    let number = error["code"]
        .as_u64()
        .or_else(|| code.parse().ok())
        .and_then(|code| u16::try_from(code).ok());
    let in_stream = status.is_none();
    let status = status.or(number.filter(|number| (400..600).contains(number)));
    let cause = Cause::of(status, &[code, kind(error)], &format!("{message} {raw}").to_lowercase());
    // Servers quote the key that they reject.
    let message = match cause {
        Cause::Key => "it refused the credentials of this provider".to_owned(),
        _ if raw.is_empty() => message,
        _ => format!("{message}: {raw}"),
    };
    let status = status.map_or_else(String::new, |status| format!(" ({status})"));
    // For core an overload is final. Inside a stream no retry has happened yet, so there it is an
    // ordinary server error.
    let code = match cause.code() {
        Code::Overloaded if in_stream => Code::ServerError,
        code => code,
    };
    WireError::new(code, excerpt(&format!("{API}{status}: {message}"), MESSAGE_CHARS))
}

/// The causes that need different treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
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

impl Cause {
    /// Derives the cause from the status, the machine-readable `codes` and the message in lower
    /// case: local servers send no code.
    fn of(status: Option<u16>, codes: &[&str], message: &str) -> Self {
        let code = |names: &[&str]| codes.iter().any(|code| names.contains(code));
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
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
            _ if says(&QUOTA_PHRASES) => Self::Quota,
            Some(429) => Self::RateLimit,
            _ if code(&["rate_limit_exceeded", "rate_limit_error", "RateLimitError"]) => {
                Self::RateLimit
            }
            _ if says(&CONTEXT_PHRASES) => Self::Context,
            Some(503 | 529) => Self::Overload,
            _ if code(&OVERLOAD_CODES) => Self::Overload,
            Some(408 | 409 | 425) => Self::Server,
            Some(400..=499) => Self::Request,
            None if code(&REQUEST_CODES) => Self::Request,
            _ => Self::Server,
        }
    }

    /// The code for core. A rejected key is final for core only as an invalid prompt.
    fn code(self) -> Code {
        match self {
            Self::Context => Code::ContextLength,
            Self::Quota => Code::Quota,
            Self::NotIncluded => Code::NotIncluded,
            Self::Cyber => Code::CyberPolicy,
            Self::Key | Self::Request => Code::InvalidPrompt,
            Self::RateLimit => Code::RateLimited,
            Self::Overload => Code::Overloaded,
            Self::Server => Code::ServerError,
        }
    }
}

const OVERLOAD_CODES: [&str; 4] =
    ["server_is_overloaded", "slow_down", "overloaded_error", "unavailable_error"];

const REQUEST_CODES: [&str; 4] =
    ["invalid_request_error", "BadRequestError", "not_found_error", "invalid_prompt"];

const QUOTA_PHRASES: [&str; 3] =
    ["exceeded your current quota", "insufficient balance", "insufficient credits"];

/// Messages for a prompt that is too long, of servers without a code for it: OpenAI and vLLM (two),
/// vLLM before 0.7 (two), llama.cpp, LM Studio (two), Anthropic and Bedrock behind LiteLLM, Ollama,
/// LiteLLM itself.
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
