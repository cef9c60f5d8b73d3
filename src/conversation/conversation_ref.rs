//! A known conversation: live in this process, or only stored.

use std::path::Path;
use std::sync::Arc;

use codex_gateway_engine::Sandbox;

use super::handle::Conversation;
use super::id::ConversationId;
use super::id::SessionId;
use super::permitted::ReducedSetting;
use super::sessions::StoredConversation;

/// A known conversation.
#[derive(Debug, Clone)]
pub enum ConversationRef {
    /// Live in this process.
    Live(Arc<Conversation>),
    /// Only on disk. A prompt resumes it, with these of its settings reduced already.
    Stored(StoredConversation, Vec<ReducedSetting>),
}

impl ConversationRef {
    /// Codex's thread id.
    pub fn id(&self) -> &ConversationId {
        match self {
            Self::Live(conversation) => &conversation.id,
            Self::Stored(stored, _) => &stored.conversation_id,
        }
    }

    /// The session's name, chosen by the client or generated.
    pub fn session_id(&self) -> &SessionId {
        match self {
            Self::Live(conversation) => &conversation.session_id,
            Self::Stored(stored, _) => &stored.session_id,
        }
    }

    /// The sandbox of its commands, unless a prompt chooses another.
    pub fn sandbox(&self) -> Sandbox {
        match self {
            Self::Live(conversation) => conversation.defaults.sandbox,
            Self::Stored(stored, _) => stored.defaults.sandbox,
        }
    }

    /// The name of the key that started it; `None` where there were no owners yet.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Live(conversation) => conversation.owner(),
            Self::Stored(stored, _) => stored.owner.as_deref(),
        }
    }

    /// The recorded settings that the operator does not permit any more.
    pub fn reduced(&self) -> &[ReducedSetting] {
        match self {
            Self::Live(conversation) => conversation.reduced(),
            Self::Stored(_, reduced) => reduced,
        }
    }

    /// The working folder.
    pub fn cwd(&self) -> &Path {
        match self {
            Self::Live(conversation) => &conversation.cwd,
            Self::Stored(stored, _) => &stored.cwd,
        }
    }
}
