//! Which session name belongs to which conversation: a file of JSON lines, appended to. The last
//! line of a session wins; a line that a crash cut short is skipped.

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

use crate::conversation::Defaults;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::sync::Mutex;

/// One conversation, as it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredConversation {
    /// The session's name, chosen by the client or generated.
    pub session_id: SessionId,
    /// Codex's thread id.
    pub conversation_id: ConversationId,
    /// The folder it works in.
    pub cwd: PathBuf,
    /// What a prompt gets that does not choose for itself.
    #[serde(flatten)]
    pub defaults: Defaults,
    /// The id of the model's provider.
    pub model_provider: String,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// It is in the archive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}

/// The file.
#[derive(Debug, Clone)]
pub struct Sessions {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    file: std::fs::File,
    /// By conversation.
    records: HashMap<ConversationId, StoredConversation>,
    /// When they began, and their ids.
    order: BTreeSet<(DateTime<Utc>, ConversationId)>,
    /// The newest conversation of each session.
    sessions: HashMap<SessionId, ConversationId>,
}

impl Sessions {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be read or written.
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
            // A crash in mid-line: what follows starts on a line of its own.
            file.write_all(b"\n")?;
        }
        let mut inner = Inner {
            file,
            records: HashMap::new(),
            order: BTreeSet::new(),
            sessions: HashMap::new(),
        };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<StoredConversation>(line) {
                Ok(record) => inner.remember(record),
                Err(error) => tracing::warn!(%error, "a line of the session file was skipped"),
            }
        }
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Remembers a conversation.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn insert(&self, record: StoredConversation) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        let mut inner = self.inner.lock();
        // One short line into the page cache: less than a hop to another thread would cost.
        inner.file.write_all(&line)?;
        inner.remember(record);
        Ok(())
    }

    /// The conversation of a session.
    pub fn by_session(&self, session: &SessionId) -> Option<StoredConversation> {
        let inner = self.inner.lock();
        inner.records.get(inner.sessions.get(session)?).cloned()
    }

    /// The folders of all conversations.
    pub fn folders(&self) -> Vec<PathBuf> {
        let inner = self.inner.lock();
        inner.records.values().map(|record| record.cwd.clone()).collect()
    }

    /// A conversation.
    pub fn by_conversation(&self, id: &ConversationId) -> Option<StoredConversation> {
        let inner = self.inner.lock();
        inner.records.get(id).cloned()
    }

    /// Conversations from the newest on, or from the one that began before `before`. By when they began,
    /// and not by their ids: a thread may have waited to become a conversation.
    pub fn newest_first(
        &self,
        before: Option<&ConversationId>,
        limit: usize,
    ) -> Vec<StoredConversation> {
        let inner = self.inner.lock();
        let bound = match before.map(|id| inner.records.get(id)) {
            None => None,
            Some(Some(record)) => Some(place(record)),
            // Nothing began before what never began.
            Some(None) => return Vec::new(),
        };
        let older = inner.order.iter().rev();
        let older = older.filter(|place| bound.as_ref().is_none_or(|bound| *place < bound));
        older.filter_map(|(_, id)| inner.records.get(id)).take(limit).cloned().collect()
    }
}

/// Where a record stands in the order of beginnings.
fn place(record: &StoredConversation) -> (DateTime<Utc>, ConversationId) {
    (record.created_at, record.conversation_id.clone())
}

impl Inner {
    fn remember(&mut self, record: StoredConversation) {
        // An old conversation that is archived does not take its name back from a newer one.
        if !record.archived || !self.sessions.contains_key(&record.session_id) {
            self.sessions.insert(record.session_id.clone(), record.conversation_id.clone());
        }
        self.order.insert(place(&record));
        self.records.insert(record.conversation_id.clone(), record);
    }
}

#[cfg(test)]
mod tests {
    use codex_gateway_engine::Approval;
    use codex_gateway_engine::Sandbox;

    use super::*;

    #[test]
    fn a_line_cut_by_a_crash_loses_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/sessions.jsonl");
        let id = |number: u128| ConversationId::new(&uuid::Uuid::from_u128(number).to_string());
        let record = |session: &str, conversation: u128| StoredConversation {
            session_id: SessionId::parse(session).unwrap(),
            conversation_id: id(conversation),
            cwd: "/w".into(),
            defaults: Defaults {
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
