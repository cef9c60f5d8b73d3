//! What can still be read of a damaged line of the session file.

use super::id::ConversationId;
use super::id::SessionId;

/// The readable part of a damaged line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DamagedLine {
    pub(super) session_id: Option<SessionId>,
    pub(super) conversation_id: Option<ConversationId>,
    pub(super) owner: Option<String>,
}

impl DamagedLine {
    pub(super) fn new(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        Self {
            session_id: member(&text, "session_id").and_then(|name| SessionId::parse(name).ok()),
            conversation_id: member(&text, "conversation_id")
                .and_then(|id| ConversationId::parse(id).ok()),
            owner: member(&text, "owner").map(str::to_owned),
        }
    }
}

/// The value of a string without escapes.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
    let (value, _) = rest.split_once('"')?;
    (!value.contains('\\')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_damaged_lines() {
        let id = "01234567-89ab-7def-8123-456789abcdef";
        let line = format!(
            "{{\"session_id\":\"a\",\"conversation_id\":\"{id}\",\"owner\":\"ci\",\"cw\u{0}"
        );
        let read = DamagedLine::new(line.as_bytes());
        assert_eq!(read.session_id, SessionId::parse("a").ok());
        assert_eq!(read.conversation_id, ConversationId::parse(id).ok());
        assert_eq!(read.owner.as_deref(), Some("ci"));
        let cut = DamagedLine::new(line.get(..20).unwrap().as_bytes());
        assert_eq!(cut, DamagedLine { session_id: SessionId::parse("a").ok(), ..cut.clone() });
        assert_eq!(DamagedLine::new(b"\xff"), DamagedLine::default());
    }
}
