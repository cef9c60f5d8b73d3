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
use crate::bridge::wire::INCOMPLETE;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Codes that core ends a turn for without a loss: the category is its own, or the words are the
/// provider's (`invalid_prompt`).
const ENDS_THE_TURN: [&str; 6] = [
    "bio_policy",
    "context_length_exceeded",
    "cyber_policy",
    "insufficient_quota",
    "invalid_prompt",
    "usage_not_included",
];

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
            told: told(&json!({ "code": failure.code, "message": message })),
            message,
            elsewhere: failure.retryable || failure.code == "insufficient_quota",
        }
    }

    /// A failure that the provider reports in a Responses stream.
    pub(super) fn reported(&self, event: &Event, meter: &mut Meter) -> Setback {
        let document: Value = serde_json::from_str(&event.json).unwrap_or_default();
        let error = document.pointer("/response/error").or(document.get("error"));
        let mut error = self.readable(error.unwrap_or(&document), || {
            format!("{}: the provider reports a failure", self.id)
        });
        let word = |member: &str| error.get(member).and_then(Value::as_str).unwrap_or_default();
        let (code, kind) = (word("code").to_owned(), word("type").to_owned());
        let message = word("message").to_owned();
        meter.failed(match (code.as_str(), kind.as_str()) {
            (_, INCOMPLETE) => INCOMPLETE,
            ("", _) => "failed",
            (code, _) => code,
        });
        if matches!(code.as_str(), "server_is_overloaded" | "slow_down")
            && let Some(error) = error.as_object_mut()
        {
            // For core these are final, in words of its own. In a stream nobody has tried again yet.
            error.insert("code".to_owned(), "server_error".into());
        }
        let told = told(&error);
        let own_fault = code.starts_with("invalid_")
            || kind.starts_with("invalid_")
            || [
                "context_length_exceeded",
                "bio_policy",
                "cyber_policy",
                "content_policy_violation",
            ]
            .contains(&code.as_str());
        Setback { told, message, elsewhere: !own_fault }
    }

    /// An error as core can read it: it waits for ever over one whose code is a number. The rest of it is
    /// left, such as when a limit ends.
    fn readable(&self, error: &Value, otherwise: impl FnOnce() -> String) -> Value {
        let text = |member: &str| match error.get(member) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let message = self.provider.redact(text("message").unwrap_or_else(otherwise));
        let mut readable = error.as_object().cloned().unwrap_or_default();
        readable.insert("code".to_owned(), text("code").into());
        readable.insert("type".to_owned(), text("type").into());
        readable.insert("message".to_owned(), message.into());
        readable.into()
    }

    /// A refusal as core is told of it: it ends the turn. The request has been sent as often as is of use,
    /// and core would have it sent as often again, several times.
    pub(super) fn refused(&self, refusal: &Refusal, meter: &mut Meter) -> Setback {
        let setback = match (refusal, self.provider.api.wire()) {
            (Refusal::Status(status, headers, body), Some(wire)) => {
                let failure = wire.failure(status.as_u16(), body);
                self.given_up(&failure, retry_after(headers), meter)
            }
            (Refusal::Status(status, headers, body), None) => {
                self.refused_by_responses(*status, headers, body, meter)
            }
            (Refusal::Unreachable(message), _) => {
                meter.failed("unreachable");
                self.ending("invalid_prompt", self.provider.redact(message.clone()))
            }
        };
        Setback { elsewhere: refusal.is_outage(), ..setback }
    }

    /// A failure that is not tried again, by anybody.
    pub(super) fn given_up(
        &self,
        failure: &Failure,
        after: Option<Duration>,
        meter: &mut Meter,
    ) -> Setback {
        meter.failed(failure.code);
        let message = self.provider.redact(failure.message.clone());
        let message = format!("{}{}: {message}{}", self.id, in_words(failure.code), later(after));
        Setback { elsewhere: failure.retryable, ..self.ending(failure.code, message) }
    }

    /// What a provider of core's own API says with an error status.
    fn refused_by_responses(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        meter: &mut Meter,
    ) -> Setback {
        meter.failed(status.as_str());
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = self.readable(parsed.get("error").unwrap_or(&parsed), || {
            String::from_utf8_lossy(body).chars().take(500).collect()
        });
        let word = |member: &str| error.get(member).and_then(Value::as_str).unwrap_or_default();
        let (code, said) = (word("code"), word("message"));
        if is_for_core(word("type"), said) {
            let headers: serde_json::Map<String, Value> = headers
                .iter()
                .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
                .collect();
            return Setback {
                message: format!("{status}: {said}"),
                told: json!({
                    "type": "error",
                    "status": status.as_u16(),
                    "error": error,
                    "headers": headers,
                }),
                elsewhere: false,
            };
        }
        let sort = match status.as_u16() {
            429 if code.is_empty() => "rate_limit_exceeded",
            503 | 529 if code.is_empty() => "server_is_overloaded",
            _ => code,
        };
        let later = later(retry_after(headers));
        let message = format!("{}{}: {status}: {said}{later}", self.id, in_words(sort));
        self.ending(code, message)
    }

    /// What ends the turn, in the provider's words.
    fn ending(&self, code: &str, message: String) -> Setback {
        // Core has words of its own for an overload, says nothing of the provider's, and asks again after
        // any code that it does not know.
        let code = if ENDS_THE_TURN.contains(&code) { code } else { "invalid_prompt" };
        let told = told(&json!({ "code": code, "message": message }));
        Setback { told, message, elsewhere: false }
    }
}

/// The event of a failure; core reads this form only: it waits for ever after an `error` without a status.
fn told(error: &Value) -> Value {
    let id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    json!({ "type": "response.failed", "response": { "id": id, "error": error } })
}

/// Whether core makes more of an error than its words: it reads when a plan's limit ends, and takes an
/// image that the model cannot read out of the history.
fn is_for_core(kind: &str, said: &str) -> bool {
    matches!(kind, "usage_limit_reached" | "usage_not_included")
        || said.contains("The image data you provided does not represent a valid image")
}

/// What sort of failure it is, where its code says more than its message may.
fn in_words(code: &str) -> &'static str {
    match code {
        "rate_limit_exceeded" => ": rate limited",
        "server_is_overloaded" | "slow_down" => ": overloaded",
        _ => "",
    }
}

fn later(after: Option<Duration>) -> String {
    let after = after.filter(|after| !after.is_zero());
    after.map_or_else(String::new, |after| format!(" (try again in {} s)", after.as_secs()))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let after = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    after.trim().parse().ok().map(Duration::from_secs)
}

impl Refusal {
    /// The provider is overloaded or out, whatever the request.
    fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // 529 is Anthropic's word for overloaded, the others from 520 are Cloudflare's for servers behind it.
            Self::Status(status, ..) => {
                matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504 | 520..=529)
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
            Self::Status(_, headers, _) => {
                if !self.is_outage() {
                    return None;
                }
                retry_after(headers)
            }
        };
        if let Some(pause) = asked {
            return (pause <= LONGEST_PAUSE).then_some(pause);
        }
        // Full jitter: conversations that failed together do not come back together.
        let ceiling = FIRST_PAUSE.saturating_mul(1 << attempts.min(7)).min(LONGEST_PAUSE);
        Some(ceiling.mul_f64(fastrand::f64()))
    }
}
