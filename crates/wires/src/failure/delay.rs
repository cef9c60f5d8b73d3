//! How long a provider asks to wait, in a header, in a member of its error or in its words.

use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

/// The longest wait that is understood.
const MAX_SECONDS: f64 = 31.0 * 24.0 * 3600.0;

/// Reads a number of seconds, whole or decimal, or a duration with units: `30`, `1.5`, `34.07s`,
/// `850ms`, `6m0s`, `PT5S`.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("pt").unwrap_or(&text);
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds_of(seconds);
    }
    duration(text).filter(|(_, rest)| rest.is_empty()).map(|(duration, _)| duration)
}

/// Reads a number of milliseconds.
pub fn parse_millis(text: &str) -> Option<Duration> {
    text.trim().parse::<f64>().ok().and_then(|millis| seconds_of(millis / 1000.0))
}

/// Finds the wait in words in lower case: "try again in 2s", "retry after 5 seconds".
pub(super) fn in_text(words: &str) -> Option<Duration> {
    let phrases = ["again in ", "retry in ", "retry after ", "again after ", "wait for ", "wait "];
    phrases.iter().find_map(|phrase| {
        let (_, after) = words.split_once(phrase)?;
        let after = after.strip_prefix("about ").unwrap_or(after);
        duration(after).map(|(duration, _)| duration)
    })
}

/// Finds the wait in a member of an error.
pub(super) fn in_members(members: &Map<String, Value>) -> Option<Duration> {
    let number = |name: &str| {
        let value = members.get(name)?;
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let millis = ["retry_after_ms", "retryAfterMs"].into_iter().find_map(number);
    let millis = millis.map(|millis| millis / 1000.0);
    let seconds = ["retry_after", "retryAfter", "retry_after_seconds", "retryAfterSeconds"];
    millis.or_else(|| seconds.into_iter().find_map(number)).and_then(seconds_of)
}

/// Reads a `google.rpc.RetryInfo`. Its delay is a text, or an object in some clients' form.
pub(super) fn in_detail(detail: &Value) -> Option<Duration> {
    let delay = detail.get("retryDelay").or_else(|| detail.get("retry_delay"))?;
    match delay {
        Value::String(text) => parse(text),
        Value::Object(parts) => {
            let part = |name: &str| {
                let part = parts.get(name)?;
                part.as_f64().or_else(|| part.as_str()?.parse().ok())
            };
            seconds_of(part("seconds").unwrap_or(0.0) + part("nanos").unwrap_or(0.0) / 1e9)
        }
        _ => None,
    }
}

/// Reads a duration at the start of a text, in one or more units. Returns the rest, too.
fn duration(text: &str) -> Option<(Duration, &str)> {
    let mut seconds = None;
    let mut rest = text;
    while let Some((number, unit, after)) = part(rest) {
        let size = match unit {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => break,
        };
        seconds = Some(seconds.unwrap_or(0.0) + number * size);
        rest = after;
    }
    Some((seconds_of(seconds?)?, rest))
}

/// Reads a number and its unit.
fn part(text: &str) -> Option<(f64, &str, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start_matches(' ');
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Some((number.parse().ok()?, unit, rest))
}

fn seconds_of(seconds: f64) -> Option<Duration> {
    // A wait of zero is one, and a negative number is none.
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}
