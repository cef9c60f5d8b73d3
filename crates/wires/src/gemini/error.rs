//! Errors of the API: a `google.rpc.Status` as `{code, message, status, details}`.

use serde_json::Value;
use serde_json::json;

use super::API;
use crate::error::Code;
use crate::error::WireError;
use crate::json::EXCERPT_CHARS;
use crate::json::MESSAGE_CHARS;
use crate::json::excerpt;
use crate::json::list;
use crate::json::string;

/// Reads the body of an answer with an error status.
pub(super) fn body_error(status: u16, body: &[u8]) -> WireError {
    let body = String::from_utf8_lossy(body);
    let document: Value = serde_json::from_str(&body).unwrap_or_default();
    let document = document.get(0).unwrap_or(&document);
    if document["error"].is_object() {
        return provider_error(Some(status), &document["error"]);
    }
    provider_error(Some(status), &json!({ "message": excerpt(&body, EXCERPT_CHARS) }))
}

/// Reads an error, from the body of an answer with an error status or, without one, from the
/// stream.
pub(super) fn provider_error(http_status: Option<u16>, error: &Value) -> WireError {
    let text = excerpt(string(error, "message"), MESSAGE_CHARS);
    let status = string(error, "status");
    let number = error["code"].as_u64().unwrap_or(u64::from(http_status.unwrap_or(0)));
    let lower = text.to_lowercase();
    let details = list(&error["details"]);
    let mut message = format!("{API} answered {number} {status}: {text}");
    let code = match (number, status) {
        (429, _) | (_, "RESOURCE_EXHAUSTED") if is_exhausted(details, &lower) => Code::Quota,
        (429, _) | (_, "RESOURCE_EXHAUSTED") => {
            if let Some(delay) = retry_delay(details, &lower) {
                // Core parses exactly this sentence.
                message.push_str(&format!(" Please try again in {delay}."));
            }
            Code::RateLimited
        }
        // For core an overload is final. Inside a stream no retry has happened yet, so there it is
        // an ordinary server error.
        (503 | 529, _) | (_, "UNAVAILABLE") if http_status.is_some() => Code::Overloaded,
        (500.. | 408 | 499, _)
        | (_, "UNAVAILABLE" | "INTERNAL" | "DEADLINE_EXCEEDED" | "CANCELLED" | "ABORTED") => {
            Code::ServerError
        }
        _ if lower.contains("token") && lower.contains("exceeds the maximum") => {
            Code::ContextLength
        }
        _ => {
            if matches!(number, 401 | 403) || lower.contains("api key") {
                message.push_str(" (check the provider's key in the gateway's configuration)");
            }
            Code::InvalidPrompt
        }
    };
    WireError::new(code, message)
}

/// Whether a quota is exhausted for longer than a call waits.
fn is_exhausted(details: &[Value], message: &str) -> bool {
    let daily =
        |violation: &Value| violation["quotaId"].as_str().is_some_and(|id| id.contains("PerDay"));
    details.iter().flat_map(|detail| list(&detail["violations"])).any(daily)
        || message.contains("limit: 0,")
        || message.contains("credits are depleted")
}

/// Returns the delay before a retry, such as `34.07s`.
fn retry_delay(details: &[Value], message: &str) -> Option<String> {
    let delay = details.iter().find_map(|detail| detail["retryDelay"].as_str());
    let delay = delay.or_else(|| message.split_once("retry in ").map(|(_, delay)| delay))?;
    let digits: String = delay.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit = if delay.get(digits.len()..)?.starts_with("ms") { "ms" } else { "s" };
    digits.parse::<f64>().ok().map(|number| format!("{number}{unit}"))
}
