//! Maps a failed call to the last event that core expects.
//!
//! Core ends a turn on a few codes and repeats the call on all others. Before an answer begins the
//! bridge has already retried, so those failures end the turn; inside a stream core may repeat it.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use http::StatusCode;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use wires::Code;
use wires::WireError;
use wires::event::INCOMPLETE;

use super::attempt::AttemptError;
use super::attempt::retry_after;
use crate::bridge::event::Event;
use crate::bridge::event::response_id;
use crate::bridge::provider::Provider;

/// Codes on which core ends a turn and loses no information: core has its own category for them, or
/// shows the provider's words (`invalid_prompt`).
const ENDS_THE_TURN: [&str; 6] = [
    "bio_policy",
    "context_length_exceeded",
    "cyber_policy",
    "insufficient_quota",
    "invalid_prompt",
    "usage_not_included",
];

/// Failures of the request itself, which fail with another provider too.
const OWN_FAULT: [&str; 4] =
    ["bio_policy", "content_policy_violation", "context_length_exceeded", "cyber_policy"];

/// A failed call.
#[derive(Debug)]
pub(crate) struct CallError {
    /// The last event for core.
    event: Event,
    /// The cause.
    pub(crate) message: String,
    /// The cause as a metric label.
    pub(super) code: Cow<'static, str>,
    /// Whether another provider may answer the same request.
    pub(crate) fallback: bool,
}

impl CallError {
    /// Returns the event for core, with the failures of fallbacks.
    pub(crate) fn into_event(self, fallbacks: Option<&str>) -> Event {
        match fallbacks {
            Some(fallbacks) => self.event.with_remark(&format!(" (fallbacks: {fallbacks})")),
            None => self.event,
        }
    }

    /// A failure of the wire, which core may repeat.
    pub(super) fn of_wire(provider: &Provider, error: &WireError) -> Self {
        let code = error.code.as_str();
        let message = provider.redact(error.message.clone());
        let document = json!({ "code": code, "message": message });
        let fallback = error.retryable || error.code == Code::Quota;
        Self { event: failed(document), message, code: code.into(), fallback }
    }

    /// A failure that the provider reports in a Responses stream.
    pub(super) fn reported(provider: &Provider, error: &Value) -> Self {
        let mut error = readable(provider, error, || {
            format!("{}: the provider reports a failure", provider.id)
        });
        let member = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let (code, kind) = (member("code").to_owned(), member("type").to_owned());
        let message = member("message").to_owned();
        if matches!(code.as_str(), "server_is_overloaded" | "slow_down")
            && let Some(error) = error.as_object_mut()
        {
            // For core an overload is final, with core's own message. Inside a stream no retry has
            // happened yet.
            error.insert("code".to_owned(), "server_error".into());
        }
        let own_fault = code.starts_with("invalid_")
            || kind.starts_with("invalid_")
            || OWN_FAULT.contains(&code.as_str());
        let label = match (code.as_str(), kind.as_str()) {
            (_, INCOMPLETE) => INCOMPLETE.into(),
            ("", _) => "failed".into(),
            _ => code.into(),
        };
        Self { event: failed(error), message, code: label, fallback: !own_fault }
    }

    /// A request that failed before its answer began. It ends the turn: the request has been
    /// repeated as often as is useful, and core would repeat it as often again, several times.
    pub(super) fn of_attempt(provider: &Provider, error: &AttemptError) -> Self {
        let ended = match (error, provider.api.wire()) {
            (AttemptError::Status { status, headers, body }, Some(wire)) => {
                let error = wire.error(status.as_u16(), body);
                Self::final_failure(provider, &error, retry_after(headers))
            }
            (AttemptError::Status { status, headers, body }, None) => {
                Self::of_responses_status(provider, *status, headers, body)
            }
            (AttemptError::Unreachable(message), _) => {
                let message = provider.redact(message.clone());
                Self::ending("invalid_prompt", message, "unreachable")
            }
        };
        Self { fallback: error.is_outage(), ..ended }
    }

    /// The queue of the provider is full.
    pub(super) fn queue_full(provider: &Provider) -> Self {
        let Provider { max_concurrent, max_waiting, .. } = provider;
        let message = format!("{max_concurrent} calls are in flight and {max_waiting} are queued");
        let error = WireError::new(Code::Overloaded, message);
        let fallback = error.retryable;
        Self { fallback, ..Self::final_failure(provider, &error, None) }
    }

    /// A failure that nothing repeats.
    fn final_failure(provider: &Provider, error: &WireError, after: Option<Duration>) -> Self {
        let code = error.code.as_str();
        let message = provider.redact(error.message.clone());
        let message = format!("{}{}: {message}{}", provider.id, words_of(code), retry_hint(after));
        Self::ending(code, message, code)
    }

    /// An answer with an error status of a provider with core's own API.
    fn of_responses_status(
        provider: &Provider,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = readable(provider, document.get("error").unwrap_or(&document), || {
            String::from_utf8_lossy(body).chars().take(500).collect()
        });
        let member = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let (code, message) = (member("code"), member("message"));
        let label = status.as_str().to_owned();
        if is_read_by_core(member("type"), message) {
            let headers: Map<String, Value> = headers
                .iter()
                .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
                .collect();
            return Self {
                message: format!("{status}: {message}"),
                event: Event::rejected_with(status.as_u16(), &error, headers),
                code: label.into(),
                fallback: false,
            };
        }
        let cause = match status.as_u16() {
            429 if code.is_empty() => "rate_limit_exceeded",
            503 | 529 if code.is_empty() => "server_is_overloaded",
            _ => code,
        };
        let hint = retry_hint(retry_after(headers));
        let message = format!("{}{}: {status}: {message}{hint}", provider.id, words_of(cause));
        Self::ending(code, message, label)
    }

    /// A failure that ends the turn with the message.
    fn ending(code: &str, message: String, label: impl Into<Cow<'static, str>>) -> Self {
        // Core replaces the message of an overload with its own, and repeats the call on any code
        // that it does not know.
        let code = if ENDS_THE_TURN.contains(&code) { code } else { "invalid_prompt" };
        let event = failed(json!({ "code": code, "message": message }));
        Self { event, message, code: label.into(), fallback: false }
    }
}

fn failed(error: Value) -> Event {
    Event::failed(Some(&response_id()), error)
}

/// Makes an error readable for core, which hangs on numeric error codes. Other members stay, such
/// as the end of a limit.
fn readable(provider: &Provider, error: &Value, otherwise: impl FnOnce() -> String) -> Value {
    let text = |member: &str| match error.get(member) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = provider.redact(text("message").unwrap_or_else(otherwise));
    let mut readable = error.as_object().cloned().unwrap_or_default();
    readable.insert("code".to_owned(), text("code").into());
    readable.insert("type".to_owned(), text("type").into());
    readable.insert("message".to_owned(), message.into());
    readable.into()
}

/// Whether core reads more of an error than its message: when a plan's limit ends, or that an image
/// must be removed from the history.
fn is_read_by_core(kind: &str, message: &str) -> bool {
    matches!(kind, "usage_limit_reached" | "usage_not_included")
        || message.contains("The image data you provided does not represent a valid image")
}

/// Returns the words for a code that the message may lack.
fn words_of(code: &str) -> &'static str {
    match code {
        "rate_limit_exceeded" => ": rate limited",
        "server_is_overloaded" | "slow_down" => ": overloaded",
        _ => "",
    }
}

fn retry_hint(after: Option<Duration>) -> String {
    let after = after.filter(|after| !after.is_zero());
    after.map_or_else(String::new, |after| format!(" (try again in {} s)", after.as_secs()))
}
