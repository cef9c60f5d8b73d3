//! How a call comes to nothing, in the words that core reads.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use serde_json::Value;
use serde_json::json;

use super::Upstream;
use crate::bridge::backend::Event;
use crate::bridge::meter::Meter;
use crate::bridge::wire::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a call came to nothing, for core and for whoever may ask another provider.
#[derive(Debug)]
pub(in crate::bridge) struct Setback {
    /// The event that core is told.
    told: Value,
    /// What it says.
    pub(in crate::bridge) message: String,
    /// The provider is overloaded or out: another one may do better with the same request.
    pub(in crate::bridge) elsewhere: bool,
}

impl Setback {
    /// As core is told of it, with what others said that were asked too.
    pub(in crate::bridge) fn event(mut self, others: Option<&str>) -> Event {
        let message = ["/response/error/message", "/error/message"]
            .into_iter()
            .find(|path| self.told.pointer(path).is_some())
            .and_then(|path| self.told.pointer_mut(path));
        if let (Some(message), Some(others)) = (message, others) {
            let own = message.as_str().unwrap_or_default();
            *message = format!("{own} (fallbacks: {others})").into();
        }
        Event::of(&self.told)
    }
}

/// Why a call came to nothing.
pub(super) enum Refusal {
    /// The provider answered with an error status.
    Status(StatusCode, HeaderMap, Bytes),
    /// It could not be reached, or did not begin to answer.
    Unreachable(String),
}

impl Upstream {
    /// A failure as core is told of it.
    pub(super) fn failed(&self, failure: &Failure, meter: &mut Meter) -> Setback {
        meter.failed(failure.code);
        let message = self.provider.redact(failure.message.clone());
        Setback {
            told: json!({
                "type": "response.failed",
                "response": {
                    "id": format!("resp_{}", uuid::Uuid::now_v7().simple()),
                    "error": { "code": failure.code, "message": message },
                },
            }),
            message,
            elsewhere: failure.retryable || failure.code == "insufficient_quota",
        }
    }

    /// A failure that the provider reports in a Responses stream.
    pub(super) fn reported(&self, event: &Event, meter: &mut Meter) -> Setback {
        let document: Value = serde_json::from_str(&event.json).unwrap_or_default();
        let error = document.pointer("/response/error").or(document.get("error"));
        let mut error = error.unwrap_or(&document).clone();
        let readable =
            self.readable(&error, || format!("{}: the provider reports a failure", self.id));
        match (&mut error, readable) {
            // Core reads more of it, such as when a limit ends.
            (Value::Object(error), Value::Object(readable)) => error.extend(readable),
            (error, readable) => *error = readable,
        }
        let word = |member: &str| error.get(member).and_then(Value::as_str).unwrap_or_default();
        let (code, kind) = (word("code"), word("type"));
        let message = word("message").to_owned();
        meter.failed(if code.is_empty() { "failed" } else { code });
        // Core reads this form only: it waits for ever after an `error` without a status.
        let id = format!("resp_{}", uuid::Uuid::now_v7().simple());
        let told = json!({ "type": "response.failed", "response": { "id": id, "error": error } });
        let own_fault = code.starts_with("invalid_")
            || kind.starts_with("invalid_")
            || [
                "context_length_exceeded",
                "bio_policy",
                "cyber_policy",
                "content_policy_violation",
            ]
            .contains(&code);
        Setback { told, message, elsewhere: !own_fault }
    }

    /// An error as core can read it: it waits for ever over one whose code is a number.
    fn readable(&self, error: &Value, otherwise: impl FnOnce() -> String) -> Value {
        let text = |member: &str| match error.get(member) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let message = self.provider.redact(text("message").unwrap_or_else(otherwise));
        json!({ "code": text("code"), "type": text("type"), "message": message })
    }

    /// A refusal as core is told of it.
    pub(super) fn refused(&self, refusal: &Refusal, meter: &mut Meter) -> Setback {
        let setback = match (refusal, self.provider.api.wire()) {
            (Refusal::Status(status, _, body), Some(wire)) => {
                self.failed(&wire.failure(status.as_u16(), body), meter)
            }
            // Core knows the errors of its own API best; it gets what it would have got over HTTP.
            (Refusal::Status(status, headers, body), None) => {
                meter.failed(status.as_str());
                let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
                let error = self.readable(parsed.get("error").unwrap_or(&parsed), || {
                    let body: String = String::from_utf8_lossy(body).chars().take(500).collect();
                    format!("{} answered {status}: {body}", self.id)
                });
                let headers: serde_json::Map<String, Value> = headers
                    .iter()
                    .filter_map(|(name, value)| {
                        Some((name.to_string(), value.to_str().ok()?.into()))
                    })
                    .collect();
                let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
                Setback {
                    message: format!("{status}: {message}"),
                    told: json!({
                        "type": "error",
                        "status": status.as_u16(),
                        "error": error,
                        "headers": headers,
                    }),
                    elsewhere: false,
                }
            }
            (Refusal::Unreachable(message), _) => {
                // It was tried as often as is of use: this code ends the turn instead of having core
                // try as often again.
                let message = message.clone();
                self.failed(&Failure { code: "invalid_prompt", message, retryable: false }, meter)
            }
        };
        Setback { elsewhere: refusal.is_outage(), ..setback }
    }
}

impl Refusal {
    /// The provider is overloaded or out, whatever the request.
    fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // 529 is Anthropic's word for overloaded.
            Self::Status(status, ..) => {
                matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504 | 529)
            }
        }
    }

    /// How long to wait before the request is sent again; `None` where it is not.
    pub(super) fn pause(&self, attempts: u32, retries: u32) -> Option<Duration> {
        if attempts > retries {
            return None;
        }
        let asked = match self {
            Self::Unreachable(_) => None,
            Self::Status(status, headers, _) => {
                // A 500 is as likely to come again.
                if !self.is_outage() || status.as_u16() == 500 {
                    return None;
                }
                headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok())
            }
        };
        if let Some(seconds) = asked {
            let pause = Duration::from_secs(seconds);
            return (pause <= LONGEST_PAUSE).then_some(pause);
        }
        // Full jitter: conversations that failed together do not come back together.
        let ceiling = FIRST_PAUSE.saturating_mul(1 << attempts.min(7)).min(LONGEST_PAUSE);
        Some(ceiling.mul_f64(fastrand::f64()))
    }
}
