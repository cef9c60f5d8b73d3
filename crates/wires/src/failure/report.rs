//! The parts of an error document. Providers agree on no form: `error` is an object, a text or
//! absent, its words are a `message`, `detail`, `msg` and more, lists hold several, and gateways
//! put one document as text into another.

use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

use super::delay;
use super::place::Place;
use crate::json::EXCERPT_CHARS;
use crate::json::excerpt;
use crate::json::list;

/// Documents within documents that are opened.
const MAX_DEPTH: usize = 6;
/// Characters of words that are kept.
const MAX_WORDS: usize = 4000;

/// What an error document says.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The HTTP status, or else the one that the document names.
    pub(super) status: Option<u16>,
    /// Codes, types and statuses in lower case.
    pub(super) codes: Vec<String>,
    /// The provider's words, each sentence once.
    pub(super) words: String,
    /// The id of the request at the provider.
    pub(super) request: Option<String>,
    /// How long the provider asks to wait.
    pub(super) delay: Option<Duration>,
    /// Whether a quota is spent for longer than a call waits.
    pub(super) is_spent: bool,
}

/// Members with words for people, the most telling first.
const WORDS: [&str; 18] = [
    "message",
    "Message",
    "msg",
    "error_message",
    "errorMessage",
    "error_msg",
    "status_msg",
    "error_description",
    "errmsg",
    "err_msg",
    "exception",
    "faultstring",
    "detail",
    "description",
    "raw",
    "reason",
    "title",
    "text",
];

/// Members with machine-readable words or numbers.
const CODES: [&str; 10] = [
    "code",
    "type",
    "status",
    "error_code",
    "errorCode",
    "error_type",
    "__type",
    "statusCode",
    "status_code",
    "http_status",
];

/// Members around other documents.
const INNER: [&str; 11] = [
    "error",
    "Error",
    "fault",
    "errors",
    "detail",
    "base_resp",
    "metadata",
    "innererror",
    "cause",
    "response",
    "body",
];

impl Report {
    pub(super) fn of(place: Place, document: &Value) -> Self {
        let mut report = Self::default();
        if let Place::Status(status) = place {
            report.status = Some(status);
        }
        report.read(document, 0);
        if report.words.is_empty() {
            // Codes are better than nothing, and a document than no code.
            report.words = match (report.codes.is_empty(), document) {
                (false, _) => report.codes.join(", "),
                (true, Value::Null) => "no reason given".to_owned(),
                (true, Value::String(text)) if text.trim().is_empty() => {
                    "no reason given".to_owned()
                }
                (true, other) => excerpt(&other.to_string(), EXCERPT_CHARS),
            };
        }
        let in_words = || delay::in_text(&report.words.to_lowercase());
        report.delay = report.delay.or_else(in_words);
        report
    }

    fn read(&mut self, document: &Value, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match document {
            Value::String(text) => self.text(text, depth),
            Value::Array(all) => all.iter().take(8).for_each(|one| self.read(one, depth + 1)),
            Value::Object(members) => self.object(members, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn object(&mut self, members: &Map<String, Value>, depth: usize) {
        for value in CODES.iter().filter_map(|name| members.get(*name)) {
            self.code(value);
        }
        // FastAPI and Pydantic: the place and the problem.
        if let (Some(place), Some(problem)) =
            (members.get("loc"), members.get("msg").and_then(Value::as_str))
        {
            let place: Vec<String> = list(place).iter().map(plain).collect();
            return self.say(&format!("{}: {problem}", place.join(".")));
        }
        let details = members.get("details").map_or(&[][..], list);
        self.delay = self.delay.or_else(|| delay::in_members(members));
        self.delay = self.delay.or_else(|| details.iter().find_map(delay::in_detail));
        self.is_spent |=
            details.iter().flat_map(|detail| list(&detail["violations"])).any(is_daily);
        let request = ["request_id", "requestId"].iter().find_map(|name| members.get(*name));
        if let Some(request) = request.and_then(Value::as_str).filter(|id| !id.is_empty()) {
            self.request.get_or_insert_with(|| excerpt(request, 100));
        }
        for text in WORDS.iter().filter_map(|name| members.get(*name)) {
            self.read(text, depth + 1);
        }
        for inner in INNER.iter().filter_map(|name| members.get(*name)) {
            match inner {
                // `{"error":"invalid_token","error_description":"…"}`, as in OAuth.
                Value::String(text) if is_code(text) && members.len() > 1 => self.code(inner),
                _ => self.read(inner, depth + 1),
            }
        }
    }

    /// Reads words. Some gateways put the document of their provider there, behind words of their
    /// own.
    fn text(&mut self, text: &str, depth: usize) {
        let text = text.trim();
        if text.starts_with('<') && text.contains('>') {
            return self.say(&markup(text));
        }
        let start = text.find(['{', '[']).unwrap_or(text.len());
        let (before, inner) = text.split_at(start);
        let inner = inner.get(..inner.rfind(['}', ']']).map_or(0, |end| end + 1));
        let inner = inner.and_then(|inner| {
            let python = || serde_json::from_str::<Value>(&inner.replace('\'', "\"")).ok();
            serde_json::from_str::<Value>(inner).ok().or_else(python)
        });
        let mut report = Self::default();
        if let Some(inner) = &inner {
            report.read(inner, depth + 1);
        }
        if report.words.is_empty() {
            return self.say(text);
        }
        let before = before.trim_end_matches([' ', '-', ':', '\n']);
        let words = std::mem::take(&mut report.words);
        self.say(&if before.is_empty() { words } else { format!("{before}: {words}") });
        self.status = self.status.or(report.status);
        self.codes.append(&mut report.codes);
        self.request = self.request.take().or(report.request);
        self.delay = self.delay.or(report.delay);
        self.is_spent |= report.is_spent;
    }

    /// Adds words that have not been said.
    fn say(&mut self, words: &str) {
        let words = excerpt(words, MAX_WORDS);
        if words.is_empty() || self.words.contains(&words) || self.words.len() > MAX_WORDS {
            return;
        }
        if words.contains(&self.words) {
            self.words = words;
            return;
        }
        self.words.push_str(": ");
        self.words.push_str(&words);
    }

    fn code(&mut self, code: &Value) {
        let number = code.as_u64().or_else(|| code.as_str()?.parse().ok());
        if let Some(status) = number.and_then(|number| u16::try_from(number).ok())
            && (400..600).contains(&status)
        {
            self.status.get_or_insert(status);
            return;
        }
        match code {
            Value::String(text) if !["", "error"].contains(&text.as_str()) && text.len() <= 100 => {
                self.codes.push(text.to_lowercase());
            }
            Value::Number(number) => self.codes.push(number.to_string()),
            _ => {}
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a text is a machine-readable word.
fn is_code(text: &str) -> bool {
    text.len() < 64 && !text.contains(char::is_whitespace)
}

/// Whether a violated quota of Google's renews only the next day.
fn is_daily(violation: &Value) -> bool {
    violation["quotaId"].as_str().is_some_and(|id| id.contains("PerDay"))
}

/// The words of a page: its title, or else its text.
pub(super) fn markup(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|start| {
        let start = start + lower.get(start..)?.find('>')? + 1;
        page.get(start..start + lower.get(start..)?.find('<')?)
    });
    let title = title.map(str::trim).filter(|title| !title.is_empty());
    let mut text = String::new();
    let mut is_tag = false;
    for c in title.unwrap_or(page).chars().take(4 * EXCERPT_CHARS) {
        match c {
            '<' => is_tag = true,
            '>' if is_tag => {
                is_tag = false;
                text.push(' ');
            }
            _ if is_tag => {}
            c => text.push(c),
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    excerpt(&words.join(" "), EXCERPT_CHARS)
}

/// Replaces what looks like a key.
pub(super) fn without_keys(words: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_*.".contains(c);
    let prefixes = ["sk-", "sk_", "gsk_", "xai-", "AIza", "key-", "pk-", "hf_", "nvapi-", "r8_"];
    let is_key = |word: &str| {
        let long = word.len() >= 24 && word.contains(|c: char| c.is_ascii_digit());
        word.len() > 4 && (long || prefixes.iter().any(|prefix| word.starts_with(prefix)))
    };
    let mut clean = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(start) = rest.find(is_part) {
        let (between, from) = rest.split_at(start);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        clean.push_str(between);
        clean.push_str(if is_key(word) { "****" } else { word });
        rest = after;
    }
    clean.push_str(rest);
    clean
}
