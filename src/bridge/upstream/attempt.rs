//! A request that failed before its answer began.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::StatusCode;
use http::header;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The failure of one request.
pub(super) enum AttemptError {
    /// The provider answered with an error status.
    Status { status: StatusCode, headers: HeaderMap, body: Bytes },
    /// The provider could not be reached, or did not begin to answer in time.
    Unreachable(String),
}

impl AttemptError {
    /// Whether the provider is overloaded or down, whatever the request.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // 529 is Anthropic's overload; Cloudflare uses 520 to 527 for failures of servers
            // behind it.
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504 | 520..=529)
            }
        }
    }

    /// Returns the pause before the next attempt. `None` if there must be none.
    pub(super) fn pause(&self, attempts: u32, retries: u32) -> Option<Duration> {
        if attempts > retries || !self.is_outage() {
            return None;
        }
        let retry_after = match self {
            Self::Unreachable(_) => None,
            Self::Status { headers, .. } => retry_after(headers),
        };
        if let Some(pause) = retry_after {
            return (pause <= LONGEST_PAUSE).then_some(pause);
        }
        // Full jitter: conversations that failed together must not return together.
        let ceiling = FIRST_PAUSE.saturating_mul(1 << attempts.min(7)).min(LONGEST_PAUSE);
        Some(ceiling.mul_f64(fastrand::f64()))
    }
}

/// Returns the seconds of a `Retry-After` header (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
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
