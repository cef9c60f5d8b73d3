//! [`DecodeError`]: why a document is not what it should be: the member, what it takes, what it got.

use std::fmt::Display;

use serde::de::Expected;
use serde::de::Unexpected;

use crate::error::Error;
use crate::text::excerpt;

/// The detail about a missing member.
const ABSENT: &str = "expected a value, got nothing";

/// The longest name of a member that is shown as it is.
const MAX_NAME: usize = 64;

/// An error about a member.
#[derive(Debug)]
pub(crate) struct DecodeError {
    /// The member, as `images[0]` or `target.type`; empty for the document itself.
    path: String,
    detail: String,
}

impl DecodeError {
    pub(super) fn new(detail: impl Into<String>) -> Self {
        Self { path: String::new(), detail: detail.into() }
    }

    /// `expected` is what the member takes, `got` what it is.
    pub(super) fn expected(expected: impl Display, got: impl Display) -> Self {
        Self::new(format!("expected {expected}, got {got}"))
    }

    /// A member that the object does not have. `known` are those that it has.
    pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        let advice = match nearest(name, known.clone()) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => {
                let known: Vec<&str> = known.filter(|name| is_own_spelling(name)).collect();
                match known.as_slice() {
                    [] => "there are none".to_owned(),
                    known => format!("known are {}", known.join(", ")),
                }
            }
        };
        Self::expected("a known field", format!("an unknown one; {advice}")).in_member(name)
    }

    /// A member that the object has twice.
    pub(super) fn repeated(name: &str) -> Self {
        Self::expected("it once", "it twice").in_member(name)
    }

    /// Whether a member is missing.
    pub(super) fn is_absence(&self) -> bool {
        // By its text: serde hands errors on as texts.
        self.detail.ends_with(ABSENT)
    }

    /// The same error, seen from the object around it.
    pub(super) fn in_member(mut self, name: &str) -> Self {
        let plain = name.len() <= MAX_NAME && !name.chars().any(char::is_control);
        let mut path = if plain { name.to_owned() } else { excerpt(name) };
        if !self.path.is_empty() && !self.path.starts_with('[') {
            path.push('.');
        }
        path.push_str(&self.path);
        self.path = path;
        self
    }

    /// The same error, seen from the list around it.
    pub(super) fn in_item(mut self, index: usize) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

/// Whether a name is spelled as the gateway spells names, and is not an alias.
fn is_own_spelling(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The known name that is most like `name`, if one is: the same but for its spelling (`sessionId`),
/// or a third of its letters differ at most.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_NAME {
        return None;
    }
    let plain = |name: &str| -> Vec<char> {
        name.chars().filter(|one| one.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(name);
    let known = known.filter(|name| is_own_spelling(name));
    let distances = known.map(|known| (distance(&wanted, &plain(known)), known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= wanted.len().max(3) / 3).then_some(nearest)
}

/// The edit distance: letters to insert, delete or replace (Levenshtein).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, one) in from.iter().enumerate() {
        let mut left = line + 1;
        let mut next = vec![left];
        for ((above, diagonal), other) in row.iter().skip(1).zip(&row).zip(to) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(one != other));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// The words of serde's own visitors, in the words of JSON.
fn in_words_of_json(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        "unit" => "null",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// Describes a value that serde found, in the words of JSON.
fn got(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => excerpt(text),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

impl serde::de::Error for DecodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(in_words_of_json(&expected.to_string()), got(&unexpected))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(in_words_of_json(&expected.to_string()), got(&unexpected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(ABSENT).in_member(field)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::unknown(field, known.iter().copied())
    }

    /// Also a member under its name and under its other name.
    fn duplicate_field(field: &'static str) -> Self {
        Self::repeated(field)
    }
}

impl Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.detail),
            path => write!(f, "{path}: {}", self.detail),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_name_finds_its_like() {
        let known = ["session_id", "conversation_id", "cwd", "timeout_ms", "approvalPolicy"];
        for (name, expected) in [
            ("sessionId", Some("session_id")),
            ("session-id", Some("session_id")),
            ("sesion_id", Some("session_id")),
            ("timeout", Some("timeout_ms")),
            ("cwdd", Some("cwd")),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
    }
}
