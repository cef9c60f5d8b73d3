//! The errors of providers, in every dress: read once for all wires, so that the same failure has
//! the same code, for every provider.
//!
//! - [`report`]: finds the provider's words, its machine-readable words and its status;
//! - [`cause`]: derives the [`Code`] from them;
//! - [`delay`]: how long the provider asks to wait.

mod cause;
pub mod delay;
mod place;
mod report;

use serde_json::Value;

pub(crate) use self::place::Place;
use self::report::Report;
use crate::error::Code;
use crate::error::WireError;
use crate::json::MESSAGE_CHARS;
use crate::json::excerpt;
use crate::sse;

/// Reads the body of an answer with an error status. `api` names the provider's API.
pub(crate) fn of_body(api: &str, status: u16, body: &[u8]) -> WireError {
    let text = String::from_utf8_lossy(body);
    let text = event_data(&text).unwrap_or_else(|| text.trim().to_owned());
    let document = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text));
    of_value(api, Place::Status(status), &document)
}

/// The data of an error that is written as a server-sent event, as LiteLLM does.
fn event_data(body: &str) -> Option<String> {
    if !["data:", "event:", ":"].iter().any(|field| body.trim_start().starts_with(field)) {
        return None;
    }
    let mut parser = sse::Parser::default();
    let mut events = parser.push(body.as_bytes()).ok()?;
    events.extend(parser.end());
    events.into_iter().map(|event| event.data).find(|data| data != "[DONE]")
}

/// Reads an error as JSON.
pub(crate) fn of_value(api: &str, place: Place, error: &Value) -> WireError {
    let report = Report::of(place, error);
    let code = cause::of(place, &report);
    let mut message = match report.status {
        Some(status) => format!("{api} ({status}): "),
        None => format!("{api}: "),
    };
    if code == Code::Authentication {
        // Servers quote the key that they reject.
        message.push_str("it refused the credentials of this provider: ");
        message.push_str(&report::without_keys(&report.words));
    } else {
        message.push_str(&report.words);
    }
    if let Some(request) = &report.request {
        message.push_str(&format!(" (request {request})"));
    }
    let mut message = excerpt(&message, MESSAGE_CHARS);
    let retry_after = if code.is_retryable() { report.delay } else { None };
    if let (Code::RateLimited, Some(delay)) = (code, retry_after)
        && !message.to_lowercase().contains("try again in")
    {
        // Core parses exactly this sentence.
        message.push_str(&format!(" Please try again in {}s.", delay.as_secs_f64()));
    }
    WireError { retry_after, ..WireError::new(code, message) }
}

/// The code of an error amid a stream.
pub fn code_of(error: &Value) -> Code {
    cause::of(Place::Stream, &Report::of(Place::Stream, error))
}

/// The words of a page: its title, or else its text.
pub(crate) fn markup(page: &str) -> String {
    report::markup(page)
}
