//! Maps a failed call to the last event that core expects.
//!
//! Core ends a turn on a few codes and repeats the call on all others. Before an answer begins the
//! bridge has already retried, so those failures end the turn; inside a stream core may repeat it.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use wires::Code;
use wires::WireError;
use wires::event::INCOMPLETE;
use wires::failure;

use super::attempt::AttemptError;
use super::attempt::Refusal;
use crate::bridge::event::Event;
use crate::bridge::event::response_id;
use crate::bridge::provider::Provider;
use crate::bridge::recorder::Failure;

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

/// A failed call.
#[derive(Debug)]
pub(crate) struct CallError {
    /// The last event for core.
    event: Event,
    /// The cause.
    pub(crate) message: String,
    /// The cause as a metric label.
    code: Cow<'static, str>,
    /// Whether the same call may succeed later.
    retryable: bool,
    /// Whether another provider may answer the same request.
    pub(crate) fallback: bool,
    /// Whether core repeats the call.
    is_repeated: bool,
}

impl CallError {
    /// Returns the event for core, with the failures of fallbacks.
    pub(crate) fn into_event(self, fallbacks: Option<&str>) -> Event {
        match fallbacks {
            Some(fallbacks) => self.event.with_remark(&format!(" (fallbacks: {fallbacks})")),
            None => self.event,
        }
    }

    /// The failure for the records.
    pub(super) fn failure(&self) -> Failure<'_> {
        let Self { code, message, retryable, .. } = self;
        Failure { code, message, retryable: *retryable }
    }

    /// Whether core repeats the call.
    pub(crate) fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// The same failure, which ends the turn.
    pub(crate) fn ended(self) -> Self {
        if !self.is_repeated {
            return self;
        }
        let event = failed(json!({ "code": "invalid_prompt", "message": self.message }));
        Self { event, is_repeated: false, ..self }
    }

    /// A failure of the wire, which core may repeat.
    pub(super) fn of_wire(provider: &Provider, error: &WireError) -> Self {
        // What must not be repeated ends the turn.
        let code = match error.code.for_core() {
            code if !error.retryable && !ENDS_THE_TURN.contains(&code) => "invalid_prompt",
            code => code,
        };
        let mut message = provider.redact(error.message.clone());
        if !message.starts_with(&format!("{}: ", provider.id)) {
            message = format!("{}: {message}", provider.id);
        }
        let event = failed(json!({ "code": code, "message": message }));
        let fallback = error.retryable || error.code == Code::Quota;
        let is_repeated = !ENDS_THE_TURN.contains(&code);
        let (code, retryable) = (error.code.as_str().into(), error.retryable);
        Self { event, message, code, retryable, fallback, is_repeated }
    }

    /// A failure that the provider reports in a Responses stream.
    pub(super) fn reported(provider: &Provider, error: &Value) -> Self {
        let mut readable = readable(provider, error, || {
            format!("{}: the provider reports a failure", provider.id)
        });
        let text =
            |name: &str| readable.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (told, kind, message) = (text("code"), text("type"), text("message"));
        let cause = failure::code_of(error);
        let code = match told.as_str() {
            known if ENDS_THE_TURN.contains(&known) || known == "rate_limit_exceeded" => known,
            // For core an overload is final, with core's own message. Inside a stream no retry has
            // happened yet. Other servers have codes that core does not know.
            _ => cause.for_core(),
        };
        if let Some(members) = readable.as_object_mut() {
            members.insert("code".to_owned(), code.into());
        }
        let own_fault = kind.starts_with("invalid_")
            || matches!(
                cause,
                Code::ContentFilter
                    | Code::ContextLength
                    | Code::CyberPolicy
                    | Code::InvalidRequest
                    | Code::ModelNotFound
            );
        let label = if kind == INCOMPLETE { INCOMPLETE } else { cause.as_str() };
        let is_repeated = !ENDS_THE_TURN.contains(&code);
        let event = failed(readable);
        let retryable = cause.is_retryable();
        Self { event, message, code: label.into(), retryable, fallback: !own_fault, is_repeated }
    }

    /// A request that failed before its answer began. It ends the turn: the request has been
    /// repeated as often as is useful, and core would repeat it as often again, several times.
    pub(super) fn of_attempt(provider: &Provider, error: &AttemptError) -> Self {
        let ended =
            |code: Code, message: &String| Self::ending(code, provider.redact(message.clone()));
        let of_error = match error {
            AttemptError::Status(refusal) => Self::of_refusal(provider, refusal),
            AttemptError::Unreachable(message) => ended(Code::Unreachable, message),
            AttemptError::TimedOut(message) => ended(Code::Timeout, message),
            AttemptError::Unreadable(message) => ended(Code::InvalidStream, message),
        };
        Self { fallback: error.allows_fallback(), ..of_error }
    }

    /// The queue of the provider is full.
    pub(super) fn queue_full(provider: &Provider) -> Self {
        let Provider { max_concurrent, max_waiting, .. } = provider;
        let message = format!("{max_concurrent} calls are in flight and {max_waiting} are queued");
        let error = WireError::new(Code::Overloaded, message);
        Self { fallback: true, ..Self::final_failure(provider, &error, None) }
    }

    /// A failure that nothing repeats.
    fn final_failure(provider: &Provider, error: &WireError, after: Option<Duration>) -> Self {
        let message = provider.redact(error.message.clone());
        let words = match error.code {
            Code::RateLimited => ": rate limited",
            Code::Overloaded => ": overloaded",
            _ => "",
        };
        // The provider may have said so itself.
        let is_told = message.to_lowercase().contains("try again in");
        let hint = retry_hint(after.filter(|_| !is_told));
        Self::ending(error.code, format!("{}{words}: {message}{hint}", provider.id))
    }

    /// An answer with an error status.
    fn of_refusal(provider: &Provider, refusal: &Refusal) -> Self {
        if provider.api.wire().is_none()
            && let Some(event) = read_by_core(provider, refusal)
        {
            let message = format!("{}: {}", refusal.status, refusal.error.message);
            let code = refusal.error.code.as_str().into();
            let retryable = refusal.error.retryable;
            return Self { event, message, code, retryable, fallback: false, is_repeated: false };
        }
        Self::final_failure(provider, &refusal.error, refusal.retry_after())
    }

    /// A failure that ends the turn with the message.
    fn ending(code: Code, message: String) -> Self {
        // Core repeats the call on any code that it does not know.
        let told = match code.for_core() {
            told if ENDS_THE_TURN.contains(&told) => told,
            _ => "invalid_prompt",
        };
        let event = failed(json!({ "code": told, "message": message }));
        let retryable = code.is_retryable();
        let code = code.as_str().into();
        Self { event, message, code, retryable, fallback: false, is_repeated: false }
    }
}

/// Returns the event for an error of which core reads more than its message: when a plan's limit
/// ends, or that an image must be removed from the history.
fn read_by_core(provider: &Provider, refusal: &Refusal) -> Option<Event> {
    let document: Value = serde_json::from_slice(&refusal.body).ok()?;
    let error = document.get("error").unwrap_or(&document);
    let error = readable(provider, error, String::new);
    let member = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_read = matches!(member("type"), "usage_limit_reached" | "usage_not_included")
        || member("message")
            .contains("The image data you provided does not represent a valid image");
    if !is_read {
        return None;
    }
    let headers: Map<String, Value> = refusal
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
        .collect();
    Some(Event::rejected_with(refusal.status.as_u16(), &error, headers))
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

fn retry_hint(after: Option<Duration>) -> String {
    let after = after.filter(|after| !after.is_zero());
    after.map_or_else(String::new, |after| format!(" (try again in {} s)", after.as_secs_f64()))
}
