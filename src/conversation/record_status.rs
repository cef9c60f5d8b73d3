//! Whether the gateway can write its records, and how many were damaged. Shared by the files of
//! records, the readiness probe and the metrics.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

/// The size of a trial write: more than the room that a full disk may have left in a file's last
/// block.
const TRIAL_BYTES: usize = 64 * 1024;

/// The room below which a file system counts as full: a turn's recording needs some.
const MIN_FREE_BYTES: u64 = 1 << 20;

/// The subject of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A session: its name, its conversation and its settings.
    Session,
    /// A folder in which a command may have run.
    Folder,
    /// A line of a conversation's recording.
    Recording,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Session, Self::Folder, Self::Recording];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Folder => "folder",
            Self::Recording => "recording",
        }
    }
}

/// Whether records can be written. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct RecordStatus(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Why the last write failed.
    failure: Mutex<Option<String>>,
    failures: AtomicU64,
    damaged: [AtomicU64; RecordKind::ALL.len()],
}

impl RecordStatus {
    /// Why records cannot be written, if so.
    pub fn failure(&self) -> Option<String> {
        self.0.failure.lock().clone()
    }

    /// The number of failed writes.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// The number of damaged records found so far.
    pub fn damaged(&self, kind: RecordKind) -> u64 {
        self.count(kind).load(Ordering::Relaxed)
    }

    /// Counts a damaged record.
    pub(super) fn add_damaged(&self, kind: RecordKind) {
        self.add_damaged_lines(kind, 1);
    }

    /// Counts damaged records.
    pub(super) fn add_damaged_lines(&self, kind: RecordKind, lines: usize) {
        self.count(kind).fetch_add(lines as u64, Ordering::Relaxed);
    }

    fn count(&self, kind: RecordKind) -> &AtomicU64 {
        let [session, folder, recording] = &self.0.damaged;
        match kind {
            RecordKind::Session => session,
            RecordKind::Folder => folder,
            RecordKind::Recording => recording,
        }
    }

    /// Notes the outcome of a write.
    pub(super) fn report<T>(&self, written: &io::Result<T>) {
        let failure = written.as_ref().err().map(ToString::to_string);
        if failure.is_some() {
            self.0.failures.fetch_add(1, Ordering::Relaxed);
        }
        let before = std::mem::replace(&mut *self.0.failure.lock(), failure.clone());
        match (before, failure) {
            (None, Some(failure)) => tracing::error!(error = failure, "records cannot be written"),
            (Some(_), None) => tracing::info!("records can be written again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

/// Tries whether a folder takes a file, so that a full disk is noticed before a client meets it,
/// and its end too. Blocks.
///
/// # Errors
/// Propagates I/O errors.
pub(super) fn try_folder(folder: &Path) -> io::Result<()> {
    let trial = folder.join("trial");
    let written = std::fs::write(&trial, [0; TRIAL_BYTES]);
    let _ = std::fs::remove_file(&trial);
    written
}

/// Fails if a folder's file system has no room for another conversation.
///
/// # Errors
/// `StorageFull`.
pub(super) fn check_room(folder: &Path) -> io::Result<()> {
    // Where it cannot be told, writing tells.
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    if disk.f_bavail.saturating_mul(disk.f_frsize) >= MIN_FREE_BYTES {
        return Ok(());
    }
    Err(io::ErrorKind::StorageFull.into())
}

/// The error of a client whose record could not be written.
pub(super) fn not_stored(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        Kind::InsufficientStorage,
        format!("{what} cannot be stored: {error}; try again when there is room on the disk"),
    )
}

/// Whether an error says that the file system takes no more.
pub(super) fn is_storage_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_follows_the_last_write() {
        let status = RecordStatus::default();
        status.report::<()>(&Err(io::ErrorKind::StorageFull.into()));
        assert!(status.failure().is_some());
        assert_eq!(status.failures(), 1);
        status.report(&Ok(()));
        assert_eq!(status.failure(), None);
        assert_eq!(status.failures(), 1);
    }

    #[test]
    fn trial_leaves_no_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        try_folder(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(try_folder(&dir.path().join("missing")).is_err());
    }
}
