//! Errors of the API (page "Errors").

use serde_json::Value;
use serde_json::json;

use super::API;
use crate::error::Code;
use crate::error::WireError;
use crate::json::EXCERPT_CHARS;
use crate::json::MESSAGE_CHARS;
use crate::json::excerpt;
use crate::json::string;

/// Reads the body of an answer with an error status.
pub(super) fn body_error(status: u16, body: &[u8]) -> WireError {
    match serde_json::from_slice::<Value>(body) {
        Ok(document) if document["error"].is_object() => provider_error(Some(status), &document),
        _ => {
            let shown = excerpt(&String::from_utf8_lossy(body), EXCERPT_CHARS);
            let error = json!({ "type": "no JSON error", "message": shown });
            provider_error(Some(status), &json!({ "error": error }))
        }
    }
}

/// Reads an error document, from the body of an answer with an error status or, without one, from
/// the stream.
pub(super) fn provider_error(status: Option<u16>, document: &Value) -> WireError {
    let error = &document["error"];
    let kind = error["type"].as_str().unwrap_or("an unnamed error");
    let message = string(error, "message");
    let code = code(status, kind, &message.to_lowercase());
    let message = excerpt(message, MESSAGE_CHARS);
    let place = match status {
        Some(status) => format!("with status {status}"),
        None => "in the stream".to_owned(),
    };
    let request = document["request_id"].as_str();
    let request = request.map(|id| format!(" (request {id})")).unwrap_or_default();
    WireError::new(code, format!("{API} failed {place}: {kind}: {message}{request}"))
}

fn code(status: Option<u16>, kind: &str, message: &str) -> Code {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    match (kind, status.unwrap_or(0)) {
        ("request_too_large", _) | (_, 413) => Code::ContextLength,
        ("billing_error", _) | (_, 402) => Code::Quota,
        ("rate_limit_error", _) | (_, 429) => Code::RateLimited,
        // For core an overload is final. Inside a stream no retry has happened yet, so there it is
        // an ordinary server error.
        ("overloaded_error", 1..) | (_, 529 | 503) => Code::Overloaded,
        ("overloaded_error" | "api_error" | "timeout_error" | "conflict_error", _)
        | (_, 408 | 409 | 500..) => Code::ServerError,
        _ if says(&["prompt is too long", "exceed context limit", "context window"]) => {
            Code::ContextLength
        }
        _ if says(&["credit balance is too low", "usage limits"]) => Code::Quota,
        // Wrong keys and models too: core shows the message of an invalid prompt and does not
        // retry.
        (_, 400..500) => Code::InvalidPrompt,
        (kind, _) if ["invalid", "auth", "perm"].iter().any(|word| kind.starts_with(word)) => {
            Code::InvalidPrompt
        }
        _ => Code::ServerError,
    }
}
