//! Names: of a conversation, of a session, of a turn; the number of an event.

use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::text::excerpt;

/// The number of an event within its conversation. The first is 1.
pub type Seq = u64;

/// The id of a turn: the id of the submission that started it.
pub type TurnId = Arc<str>;

/// Codex's thread id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ConversationId(Arc<str>);

/// The name that a client chose for a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl ConversationId {
    /// An id as core gave it.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// An id as a client wrote it.
    ///
    /// # Errors
    /// It is not a UUID.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match uuid::Uuid::try_parse(text) {
            Ok(id) => Ok(Self(id.hyphenated().to_string().into())),
            Err(_) => Err(Error::invalid(format!(
                "conversation_id: expected a UUID as `conversation_id` of an answer, got {}",
                excerpt(text)
            ))),
        }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SessionId {
    /// A name as a client wrote it.
    ///
    /// # Errors
    /// It is not 1 to 128 characters of `A-Za-z0-9._:-`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(format!(
            "session_id: expected 1 to 128 characters of A-Z a-z 0-9 . _ : -, got {}",
            excerpt(text)
        )))
    }

    /// A name for a conversation whose client chose none.
    pub fn generated(id: uuid::Uuid) -> Self {
        Self(id.hyphenated().to_string().into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
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
    fn a_session_id_is_short_and_plain() {
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
}
