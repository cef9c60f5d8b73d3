//! The session file: the stored conversations and their session names, as appended JSON lines. The
//! last line of a conversation wins. A line that a crash cut short is skipped.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use super::id::ConversationId;
use super::id::SessionId;
use super::settings::Settings;
use crate::sync::Mutex;

/// One conversation as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredConversation {
    /// The session's name, chosen by the client or generated.
    pub session_id: SessionId,
    /// Codex's thread id.
    pub conversation_id: ConversationId,
    /// The working folder.
    pub cwd: PathBuf,
    /// The settings of a prompt that chooses none.
    #[serde(flatten)]
    pub defaults: Settings,
    /// The id of the model's provider.
    pub model_provider: String,
    /// The time of its start.
    pub created_at: DateTime<Utc>,
    /// Whether it is archived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}

/// The session file.
#[derive(Debug, Clone)]
pub struct Sessions {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    file: std::fs::File,
    stored: HashMap<ConversationId, StoredConversation>,
    /// The conversations by their start.
    order: BTreeSet<(DateTime<Utc>, ConversationId)>,
    /// The newest conversation of each session.
    sessions: HashMap<SessionId, ConversationId>,
}

impl Sessions {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// Propagates I/O errors.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        if text.last().is_some_and(|last| *last != b'\n') {
            // A crash cut the last line short. The next one starts on a line of its own.
            file.write_all(b"\n")?;
        }
        let mut inner = Inner {
            file,
            stored: HashMap::new(),
            order: BTreeSet::new(),
            sessions: HashMap::new(),
        };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<StoredConversation>(line) {
                Ok(stored) => inner.add(stored),
                Err(error) => tracing::warn!(%error, "a line of the session file was skipped"),
            }
        }
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Stores a conversation.
    ///
    /// # Errors
    /// Propagates I/O errors.
    pub fn insert(&self, stored: StoredConversation) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(&stored)?;
        line.push(b'\n');
        let mut inner = self.inner.lock();
        // One short line into the page cache: less than a hop to another thread would cost.
        inner.file.write_all(&line)?;
        inner.add(stored);
        Ok(())
    }

    /// The newest conversation of a session.
    pub fn by_session(&self, session: &SessionId) -> Option<StoredConversation> {
        let inner = self.inner.lock();
        inner.stored.get(inner.sessions.get(session)?).cloned()
    }

    /// The folders of all conversations.
    pub fn folders(&self) -> Vec<PathBuf> {
        let inner = self.inner.lock();
        inner.stored.values().map(|stored| stored.cwd.clone()).collect()
    }

    /// A conversation by its id.
    pub fn by_conversation(&self, id: &ConversationId) -> Option<StoredConversation> {
        let inner = self.inner.lock();
        inner.stored.get(id).cloned()
    }

    /// At most `limit` conversations that began before `before`, the newest first. Ordered by their
    /// start and not by their ids, because a pre-started thread is older than its conversation.
    pub fn newest_first(
        &self,
        before: Option<&ConversationId>,
        limit: usize,
    ) -> Vec<StoredConversation> {
        let inner = self.inner.lock();
        let bound = match before.map(|id| inner.stored.get(id)) {
            None => None,
            Some(Some(stored)) => Some(order_key(stored)),
            Some(None) => return Vec::new(),
        };
        let older = inner.order.iter().rev();
        let older = older.filter(|key| bound.as_ref().is_none_or(|bound| *key < bound));
        older.filter_map(|(_, id)| inner.stored.get(id)).take(limit).cloned().collect()
    }
}

fn order_key(stored: &StoredConversation) -> (DateTime<Utc>, ConversationId) {
    (stored.created_at, stored.conversation_id.clone())
}

impl Inner {
    fn add(&mut self, stored: StoredConversation) {
        // Archiving an old conversation does not take its name back from a newer one.
        if !stored.archived || !self.sessions.contains_key(&stored.session_id) {
            self.sessions.insert(stored.session_id.clone(), stored.conversation_id.clone());
        }
        self.order.insert(order_key(&stored));
        self.stored.insert(stored.conversation_id.clone(), stored);
    }
}

#[cfg(test)]
mod tests {
    use codex_gateway_engine::Approval;
    use codex_gateway_engine::Sandbox;

    use super::*;

    #[test]
    fn line_cut_by_a_crash_loses_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/sessions.jsonl");
        let id = |number: u128| ConversationId::new(&uuid::Uuid::from_u128(number).to_string());
        let record = |session: &str, conversation: u128| StoredConversation {
            session_id: SessionId::parse(session).unwrap(),
            conversation_id: id(conversation),
            cwd: "/w".into(),
            defaults: Settings {
                model: "demo".into(),
                sandbox: Sandbox::ReadOnly,
                approval_policy: Approval::Never,
            },
            model_provider: "demo".into(),
            created_at: Utc::now(),
            archived: false,
        };
        let sessions = Sessions::open(&path).unwrap();
        sessions.insert(record("a", 1)).unwrap();
        drop(sessions);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"session_id":"b","conv"#).unwrap();

        let sessions = Sessions::open(&path).unwrap();
        sessions.insert(record("c", 3)).unwrap();
        let sessions = Sessions::open(&path).unwrap();
        let find = |name: &str| sessions.by_session(&SessionId::parse(name).unwrap());
        assert_eq!(find("a").unwrap().conversation_id, id(1));
        assert_eq!(find("a").unwrap().defaults.sandbox, Sandbox::ReadOnly);
        assert!(find("b").is_none());
        assert_eq!(find("c").unwrap().conversation_id, id(3));
    }
}
