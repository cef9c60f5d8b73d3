//! A request that failed before its answer began.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use chrono::NaiveDateTime;
use chrono::Utc;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use wires::Code;
use wires::WireError;
use wires::failure::delay;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The failure of one request.
pub(super) enum AttemptError {
    /// The provider answered with an error status.
    Status(Box<Refusal>),
    /// The provider could not be reached.
    Unreachable(String),
    /// The provider did not begin to answer in time. It may still be at work on the request, which
    /// a second one would only slow down.
    TimedOut(String),
    /// The provider answered in a form that cannot be read.
    Unreadable(String),
}

/// An answer with an error status.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The error that the body describes.
    pub(super) error: WireError,
}

impl Refusal {
    /// How long the provider asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers).or(self.error.retry_after)
    }

    /// Whether the provider is overloaded or down, whatever the request. 529 is Anthropic's
    /// overload; Cloudflare uses 520 to 527 for failures of servers behind it.
    fn is_outage(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504 | 520..=529)
    }

    /// Whether the same request may succeed later.
    fn may_pass(&self) -> bool {
        // A header of OpenAI's and Anthropic's, which knows better.
        match self.headers.get("x-should-retry").map(|value| value.as_bytes()) {
            Some(b"true") => true,
            Some(b"false") => false,
            _ => self.is_outage() && self.error.retryable,
        }
    }
}

impl AttemptError {
    /// Whether another provider may answer the same request.
    pub(super) fn allows_fallback(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Unreadable(_) => true,
            Self::Status(refusal) => match refusal.error.code {
                Code::ContentFilter | Code::ContextLength | Code::CyberPolicy => false,
                Code::Quota => true,
                _ => refusal.is_outage(),
            },
        }
    }

    /// Returns the pause before the next attempt, after `failures` of them. `None` if there must be
    /// none.
    pub(super) fn pause(&self, failures: u32, retries: u32) -> Option<Duration> {
        let (may_pass, retry_after) = match self {
            Self::Unreachable(_) => (true, None),
            Self::TimedOut(_) | Self::Unreadable(_) => (false, None),
            Self::Status(refusal) => (refusal.may_pass(), refusal.retry_after()),
        };
        if failures > retries || !may_pass {
            return None;
        }
        if let Some(pause) = retry_after {
            return (pause <= LONGEST_PAUSE).then_some(pause);
        }
        // Full jitter: conversations that failed together must not return together.
        let ceiling = FIRST_PAUSE.saturating_mul(1 << failures.min(7)).min(LONGEST_PAUSE);
        Some(ceiling.mul_f64(fastrand::f64()))
    }
}

/// Reads how long the headers ask to wait: milliseconds of OpenAI's and Azure's own headers, or
/// `Retry-After` with seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let millis = ["retry-after-ms", "x-ms-retry-after-ms"].into_iter().find_map(text);
    if let Some(pause) = millis.and_then(delay::parse_millis) {
        return Some(pause);
    }
    let value = text(header::RETRY_AFTER.as_str())?;
    if let Some(pause) = delay::parse(value) {
        return Some(pause);
    }
    let until = date(value)?;
    // The provider's clock, if it tells: ours may differ.
    let now = text(header::DATE.as_str()).and_then(date).unwrap_or_else(Utc::now);
    Some((until - now).to_std().unwrap_or(Duration::ZERO))
}

/// Reads a date in one of the three forms of HTTP (RFC 9110, section 5.6.7).
fn date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let old = || {
        let forms = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
        forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    };
    let new = DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc());
    new.or_else(|| old().map(|date| date.and_utc()))
}

/// Joins an error and its causes, outermost first: hyper's own message names only the place.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn wait_is_read_in_every_form() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (all, millis) in [
            (&[("retry-after", "5")][..], Some(5000)),
            (&[("retry-after", "1.5")], Some(1500)),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", "2s")], Some(2000)),
            (&[("retry-after-ms", "250"), ("retry-after", "1")], Some(250)),
            (&[("x-ms-retry-after-ms", "700")], Some(700)),
            (&[date, ("retry-after", "Sun, 06 Nov 1994 08:49:42 GMT")], Some(5000)),
            (&[date, ("retry-after", "Sunday, 06-Nov-94 08:49:42 GMT")], Some(5000)),
            (&[date, ("retry-after", "Sun Nov  6 08:49:42 1994")], Some(5000)),
            (&[date, ("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[], None),
        ] {
            let found = retry_after(&headers(all)).map(|pause| pause.as_millis());
            assert_eq!(found, millis, "{all:?}");
        }
        // Without the provider's clock, ours counts.
        let past = headers(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!(retry_after(&past), Some(Duration::ZERO));
    }

    fn refusal(status: u16, code: Code, all: &[(&'static str, &'static str)]) -> AttemptError {
        AttemptError::Status(Box::new(Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers(all),
            body: Bytes::new(),
            error: WireError::new(code, "m"),
        }))
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        for (error, repeats, falls_back) in [
            (refusal(429, Code::RateLimited, &[]), true, true),
            (refusal(429, Code::Quota, &[]), false, true),
            (refusal(500, Code::ContextLength, &[]), false, false),
            (refusal(500, Code::ServerError, &[]), true, true),
            (refusal(500, Code::ServerError, &[("x-should-retry", "false")]), false, true),
            (refusal(409, Code::ServerError, &[("x-should-retry", "true")]), true, false),
            (refusal(400, Code::InvalidRequest, &[]), false, false),
            (AttemptError::Unreachable(String::new()), true, true),
            (AttemptError::TimedOut(String::new()), false, true),
        ] {
            assert_eq!(error.pause(1, 1).is_some(), repeats);
            assert_eq!(error.pause(2, 1), None);
            assert_eq!(error.allows_fallback(), falls_back);
        }
        let long = refusal(429, Code::RateLimited, &[("retry-after", "31")]);
        assert_eq!(long.pause(1, 4), None);
    }
}
