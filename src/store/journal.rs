//! The journal of the database. The write-ahead log needs memory that all processes share, which
//! network file systems do not offer (sqlite.org/wal.html): there, a rollback journal is used.

use std::fs::File;

use sqlx::sqlite::SqliteJournalMode;

/// A kind of journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    /// Readers do not wait for a writer.
    WriteAhead,
    /// For network file systems.
    Rollback,
}

impl Journal {
    /// Chooses by the file system of a file. Says so if that is not the best one.
    pub(super) fn of(file: &File) -> Self {
        // A file system that does not say what it is counts as local.
        let kind = rustix::fs::fstatfs(file).map(|status| magic(status.f_type));
        match kind.ok().and_then(network) {
            None => Self::WriteAhead,
            Some(name) => {
                tracing::warn!(
                    file_system = name,
                    "CODEX_HOME is on a network file system: the database uses a rollback journal, \
                     which is slower, and is safe only if the file system has working locks"
                );
                Self::Rollback
            }
        }
    }

    pub(super) fn mode(self) -> SqliteJournalMode {
        match self {
            Self::WriteAhead => SqliteJournalMode::Wal,
            Self::Rollback => SqliteJournalMode::Truncate,
        }
    }
}

/// The magic number of a file system has 32 bits; the field is wider, and signed on some targets.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 bits are used")]
fn magic(kind: rustix::fs::FsWord) -> u32 {
    kind as u32
}

/// Names a network file system by its magic number (statfs(2)). FUSE counts as one: buckets and
/// remote folders are mounted through it.
fn network(magic: u32) -> Option<&'static str> {
    match magic {
        0x6969 => Some("nfs"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("smb"),
        0x6573_5546 => Some("fuse"),
        0x0102_1997 => Some("9p"),
        0x00c3_6400 => Some("ceph"),
        0x0bd0_0bd0 => Some("lustre"),
        0x5346_414f | 0x6b41_4653 => Some("afs"),
        0x4750_4653 => Some("gpfs"),
        0x0116_1970 => Some("gfs2"),
        0x7461_636f => Some("ocfs2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_get_a_rollback_journal() {
        for (magic, expected) in [
            (0xef53, None),
            (0x9123_683e, None),
            (0x0102_1994, None),
            (0x794c_7630, None),
            (0x6969, Some("nfs")),
            (0xfe53_4d42, Some("smb")),
            (0x6573_5546, Some("fuse")),
        ] {
            assert_eq!(network(magic), expected, "{magic:x}");
        }
        assert_eq!(Journal::Rollback.mode(), SqliteJournalMode::Truncate);
    }
}
