//! Ids and names of conversations, sessions and turns; the seq of an event.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::text::excerpt;

/// The sequence number of an event within its conversation. The first is 1.
pub type Seq = u64;

/// The pattern of a UUID: validators may ignore its format.
const UUID: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";

/// The id of a turn: the id of the submission that started it.
pub type TurnId = Arc<str>;

/// Codex's thread id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ConversationId(Arc<str>);

/// The name that a client chose for a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SessionId(Arc<str>);

/// The id of a pending approval, as the agent chose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ApprovalId(String);

/// The names by which a request means a conversation. With neither, it means a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConversationKey {
    /// The name that the client chose.
    pub session_id: Option<SessionId>,
    /// Codex's thread id.
    pub conversation_id: Option<ConversationId>,
}

impl From<ConversationId> for ConversationKey {
    fn from(id: ConversationId) -> Self {
        Self { session_id: None, conversation_id: Some(id) }
    }
}

impl From<SessionId> for ConversationKey {
    fn from(name: SessionId) -> Self {
        Self { session_id: Some(name), conversation_id: None }
    }
}

impl ConversationId {
    /// An id from core.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// Parses an id, in either case.
    ///
    /// # Errors
    /// `InvalidRequest` where it is not a UUID with hyphens (RFC 9562, section 4).
    pub fn parse(text: &str) -> Result<Self, Error> {
        // Of the forms that the parser takes, this one alone has 36 characters.
        match uuid::Uuid::try_parse(text) {
            Ok(id) if text.len() == 36 => Ok(Self(id.hyphenated().to_string().into())),
            Ok(_) | Err(_) => Err(Error::invalid(format!(
                "expected a UUID such as 01234567-89ab-7def-8123-456789abcdef, got {}",
                excerpt(text)
            ))),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SessionId {
    /// Parses a name.
    ///
    /// # Errors
    /// `InvalidRequest` where it is not 1 to 128 characters of `A-Za-z0-9._:-`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(format!(
            "expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, got {}",
            excerpt(text)
        )))
    }

    /// A new name, for a client that chose none: a UUID, which satisfies the grammar.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ApprovalId {
    /// An id of the agent's.
    pub fn new(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ApprovalId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::invalid("expected the approval_id of a pending approval, got \"\""));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for ApprovalId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ApprovalId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl TryFrom<String> for ConversationId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for SessionId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl JsonSchema for ConversationId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ConversationId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uuid", "pattern": UUID })
    }
}

impl JsonSchema for SessionId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SessionId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$" })
    }
}

impl std::fmt::Display for ConversationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_is_short_and_plain() {
        for (text, valid) in [
            ("a", true),
            ("Team.A:ticket_7-x", true),
            (&"x".repeat(128), true),
            (&"x".repeat(129), false),
            ("", false),
            ("a b", false),
            ("../etc", false),
            ("ü", false),
        ] {
            assert_eq!(SessionId::parse(text).is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn conversation_id_has_one_form() {
        let id = "01a22014-0000-7316-a785-171ef038f76e";
        assert_eq!(ConversationId::parse(&id.to_uppercase()).unwrap().as_str(), id);
        for text in [&id.replace('-', ""), &format!("{{{id}}}"), &format!("urn:uuid:{id}"), "x", ""]
        {
            assert!(ConversationId::parse(text).is_err(), "{text}");
        }
    }
}
