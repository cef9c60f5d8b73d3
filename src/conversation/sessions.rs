//! The session file: the stored conversations and their session names, as appended JSON lines. The
//! last line of a conversation wins. A damaged line is reported and skipped; the file as it was is
//! kept beside it.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use super::damaged_line::DamagedLine;
use super::id::ConversationId;
use super::id::SessionId;
use super::record_file::RecordFile;
use super::record_status::RecordKind;
use super::record_status::RecordStatus;
use super::record_status::check_room;
use super::record_status::not_stored;
use super::record_status::try_folder;
use super::settings::Settings;
use crate::error::Error;
use crate::sync::Mutex;

/// The number of lines from which the file is rewritten, if most of them are outdated.
const REWRITE_FROM: usize = 1000;

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
    /// The name of the key that started it; absent where there were no owners yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
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
    status: RecordStatus,
    folder: PathBuf,
    /// The readable parts of damaged lines.
    damaged: Arc<Mutex<Vec<DamagedLine>>>,
}

#[derive(Debug)]
struct Inner {
    file: RecordFile,
    stored: HashMap<ConversationId, StoredConversation>,
    /// The conversations that are not archived, by their start.
    active: BTreeSet<OrderKey>,
    /// The archived conversations, by their start.
    archived: BTreeSet<OrderKey>,
    /// The newest conversation of each session.
    sessions: HashMap<SessionId, ConversationId>,
}

/// Conversations are ordered by their start and not by their ids, because a pre-started thread is
/// older than its conversation.
pub(crate) type OrderKey = (DateTime<Utc>, ConversationId);

impl Sessions {
    /// Opens the file, or creates it. Rewrites it if lines are damaged, or most are outdated.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn open(path: &Path, status: RecordStatus) -> std::io::Result<Self> {
        let (file, text) = RecordFile::open(path, status.clone())?;
        let mut inner = Inner {
            file,
            stored: HashMap::new(),
            active: BTreeSet::new(),
            archived: BTreeSet::new(),
            sessions: HashMap::new(),
        };
        let mut damaged = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice::<StoredConversation>(line) {
                Ok(stored) => inner.add(stored),
                Err(error) => {
                    damaged.push(DamagedLine::new(line));
                    status.add_damaged(RecordKind::Session);
                    let line = number + 1;
                    tracing::error!(%error, line, "a line of the session file is damaged");
                }
            }
        }
        if !damaged.is_empty() {
            inner.repair(path);
        } else if inner.file.lines() > inner.stored.len().saturating_mul(2).max(REWRITE_FROM) {
            inner.compact();
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let (inner, damaged) = (Arc::new(Mutex::new(inner)), Arc::new(Mutex::new(damaged)));
        Ok(Self { inner, status, folder, damaged })
    }

    /// Stores a conversation.
    ///
    /// # Errors
    /// Propagates I/O errors: the file is as it was.
    pub fn insert(&self, stored: StoredConversation) -> std::io::Result<()> {
        let line = line_of(&stored)?;
        let mut inner = self.inner.lock();
        inner.file.append(&line)?;
        inner.add(stored);
        Ok(())
    }

    /// Stores a conversation that was lost. A newer one keeps their name.
    ///
    /// # Errors
    /// As of [`Self::insert`].
    pub(super) fn insert_older(&self, stored: StoredConversation) -> std::io::Result<()> {
        let named = self.by_session(&stored.session_id);
        let named = named.filter(|named| named.created_at > stored.created_at);
        self.insert(stored)?;
        named.map_or(Ok(()), |named| self.insert(named))
    }

    /// Takes the readable parts of damaged lines.
    pub(super) fn take_damaged(&self) -> Vec<DamagedLine> {
        std::mem::take(&mut *self.damaged.lock())
    }

    /// The ids of all conversations.
    pub(super) fn ids(&self) -> Vec<ConversationId> {
        self.inner.lock().stored.keys().cloned().collect()
    }

    /// Fails while records cannot be written: what begins now would be forgotten.
    ///
    /// # Errors
    /// `InsufficientStorage`.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        let failure = self.status.failure().or_else(|| {
            let room = check_room(&self.folder);
            let failure = room.as_ref().err().map(ToString::to_string)?;
            self.status.report(&room);
            Some(failure)
        });
        failure.map_or(Ok(()), |failure| Err(not_stored("the turn", &failure)))
    }

    /// Whether records can be written.
    pub fn status(&self) -> &RecordStatus {
        &self.status
    }

    /// Brings what was written to the disk. Blocks.
    pub(super) fn sync(&self) {
        let file: Option<File> = self.inner.lock().file.unsynced();
        if let Some(file) = file {
            // Where the kernel learns late that there is no room, as on NFS, it is said here.
            self.status.report(&file.sync_data());
        }
    }

    /// Tries whether records can be written, and rewrites the file if most lines are outdated.
    /// Blocks.
    pub(super) fn maintain(&self) {
        let written = check_room(&self.folder).and_then(|()| try_folder(&self.folder));
        let mut inner = self.inner.lock();
        self.status.report(&written.and_then(|()| inner.file.check()));
        if inner.file.lines() > inner.stored.len().saturating_mul(4).max(REWRITE_FROM * 10) {
            inner.compact();
        }
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

    /// The place of a conversation in the order of their starts.
    pub(super) fn order_key(&self, id: &ConversationId) -> Option<OrderKey> {
        self.inner.lock().stored.get(id).map(order_key)
    }

    /// At most `limit` conversations that began before `before`, the newest first: those in the
    /// archive, or the others.
    pub fn newest_first(
        &self,
        archived: bool,
        before: Option<&OrderKey>,
        limit: usize,
    ) -> Vec<StoredConversation> {
        let inner = self.inner.lock();
        let order = if archived { &inner.archived } else { &inner.active };
        let before = before.map_or(Bound::Unbounded, Bound::Excluded);
        let older = order.range((Bound::Unbounded, before)).rev().take(limit);
        older.filter_map(|(_, id)| inner.stored.get(id)).cloned().collect()
    }
}

/// The key under which a conversation is listed.
pub(super) fn order_key(stored: &StoredConversation) -> OrderKey {
    (stored.created_at, stored.conversation_id.clone())
}

fn line_of(stored: &StoredConversation) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(stored)?;
    line.push(b'\n');
    Ok(line)
}

impl Inner {
    fn add(&mut self, stored: StoredConversation) {
        // Archiving an old conversation does not take its name back from a newer one.
        if !stored.archived || !self.sessions.contains_key(&stored.session_id) {
            self.sessions.insert(stored.session_id.clone(), stored.conversation_id.clone());
        }
        if let Some(before) = self.stored.get(&stored.conversation_id).map(order_key) {
            self.active.remove(&before);
            self.archived.remove(&before);
        }
        let order = if stored.archived { &mut self.archived } else { &mut self.active };
        order.insert(order_key(&stored));
        self.stored.insert(stored.conversation_id.clone(), stored);
    }

    /// Rewrites the file without its damaged lines, which stay in a copy.
    fn repair(&mut self, path: &Path) {
        match self.file.keep_copy() {
            Ok(copy) => {
                tracing::warn!(copy = %copy.display(), "the damaged session file was kept");
                self.compact();
            }
            // Without a copy nothing may be lost, so the lines stay.
            Err(error) => tracing::warn!(%error, file = %path.display(), "no copy can be made"),
        }
    }

    /// Rewrites the file with one line per conversation. Of the conversations of one session, the
    /// one that has the name comes last.
    fn compact(&mut self) {
        let mut stored: Vec<_> = self.stored.values().collect();
        stored.sort_by_key(|stored| {
            let named = self.sessions.get(&stored.session_id) == Some(&stored.conversation_id);
            (named, stored.created_at)
        });
        let lines: std::io::Result<Vec<_>> = stored.into_iter().map(line_of).collect();
        match lines.and_then(|lines| self.file.rewrite(lines.into_iter())) {
            Ok(()) => tracing::info!(lines = self.file.lines(), "the session file was rewritten"),
            Err(error) => tracing::warn!(%error, "the session file could not be rewritten"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use codex_gateway_engine::Approval;
    use codex_gateway_engine::Sandbox;

    use super::*;

    fn id(number: u128) -> ConversationId {
        ConversationId::new(&uuid::Uuid::from_u128(number).to_string())
    }

    fn record(session: &str, conversation: u128) -> StoredConversation {
        StoredConversation {
            session_id: SessionId::parse(session).unwrap(),
            conversation_id: id(conversation),
            cwd: "/w".into(),
            defaults: Settings {
                model: "demo".into(),
                sandbox: Sandbox::ReadOnly,
                approval_policy: Approval::Never,
            },
            model_provider: "demo".into(),
            owner: None,
            created_at: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(conversation as i64),
            archived: false,
        }
    }

    fn open(path: &Path) -> Sessions {
        Sessions::open(path, RecordStatus::default()).unwrap()
    }

    fn named(sessions: &Sessions, name: &str) -> Option<ConversationId> {
        let stored = sessions.by_session(&SessionId::parse(name).unwrap());
        stored.map(|stored| stored.conversation_id)
    }

    #[test]
    fn damaged_lines_lose_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/sessions.jsonl");
        open(&path).insert(record("a", 1)).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\xff\n[]\n").unwrap();
        file.write_all(br#"{"session_id":"b","conv"#).unwrap();

        let status = RecordStatus::default();
        let sessions = Sessions::open(&path, status.clone()).unwrap();
        assert_eq!(status.damaged(RecordKind::Session), 3);
        sessions.insert(record("c", 3)).unwrap();
        let status = RecordStatus::default();
        let sessions = Sessions::open(&path, status.clone()).unwrap();
        assert_eq!(status.damaged(RecordKind::Session), 0, "repaired");
        assert_eq!(named(&sessions, "a"), Some(id(1)));
        assert_eq!(named(&sessions, "b"), None);
        assert_eq!(named(&sessions, "c"), Some(id(3)));
        let stored = sessions.by_conversation(&id(1)).unwrap();
        assert_eq!(stored.defaults.sandbox, Sandbox::ReadOnly);
        let kept = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(kept, 2, "the file and its damaged copy");
    }

    #[test]
    fn rewritten_file_has_the_newest_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.jsonl");
        let sessions = open(&path);
        sessions.insert(record("a", 2)).unwrap();
        // The older conversation takes the name back.
        for archived in [true, false] {
            sessions.insert(StoredConversation { archived, ..record("a", 1) }).unwrap();
        }
        for n in 0..REWRITE_FROM {
            let archived = n % 2 == 0;
            sessions.insert(StoredConversation { archived, ..record("b", 3) }).unwrap();
        }
        let sessions = open(&path);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
        assert_eq!(named(&sessions, "a"), Some(id(1)));
        assert!(!sessions.by_conversation(&id(3)).unwrap().archived);
    }

    #[test]
    fn listing_takes_only_what_it_returns() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = open(&dir.path().join("sessions.jsonl"));
        for n in 1..=9 {
            let archived = n % 3 == 0;
            sessions.insert(StoredConversation { archived, ..record("a", n) }).unwrap();
        }
        let list = |archived, before: Option<u128>| -> Vec<_> {
            let before = before.and_then(|before| sessions.order_key(&id(before)));
            let listed = sessions.newest_first(archived, before.as_ref(), 2);
            listed.into_iter().map(|stored| stored.conversation_id).collect()
        };
        assert_eq!(list(false, None), [id(8), id(7)]);
        assert_eq!(list(false, Some(7)), [id(5), id(4)]);
        assert_eq!(list(false, Some(1)), []);
        assert_eq!(list(true, None), [id(9), id(6)]);
        assert_eq!(list(true, Some(6)), [id(3)]);
        sessions.insert(record("a", 9)).unwrap();
        assert_eq!(list(true, None), [id(6), id(3)]);
    }
}
