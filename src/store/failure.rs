//! [`Failure`]: why the database cannot be used, as a sentence that says what to do.

use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", path.display(), sentence(problem))]
pub struct Failure {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    /// The file cannot be created or opened.
    File(io::Error),
    /// A newer version of the gateway wrote it.
    Newer { found: i64, known: i64 },
    /// SQLite refuses.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    pub(super) fn at(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    /// Returns whether a value that must be unique is there already.
    pub fn is_conflict(&self) -> bool {
        matches!(
            &self.problem,
            Problem::Database(sqlx::Error::Database(error)) if error.is_unique_violation()
        )
    }
}

fn sentence(problem: &Problem) -> String {
    match problem {
        Problem::File(error) => {
            format!("cannot open the database: {error}; CODEX_HOME has to be a writable folder")
        }
        Problem::Newer { found, known } => format!(
            "expected a database of version {known} or older, got {found}: a newer version of \
             codex-gateway wrote it; upgrade, or restore the backup from before"
        ),
        Problem::Database(error) => database(error),
    }
}

/// Explains an error by the primary code of SQLite, the low byte (sqlite.org/rescode.html).
fn database(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff) {
        Some(5 | 6) => format!("another process keeps the database locked ({error}); end it"),
        Some(8) => {
            format!("the database is read-only ({error}); CODEX_HOME has to be a writable folder")
        }
        Some(11 | 26) => format!(
            "the database is damaged ({error}); restore a backup, or move the file and those beside \
             it (-wal, -shm) away to start without keys"
        ),
        Some(13) => format!("the disk is full ({error})"),
        Some(14) => {
            format!("cannot open the database ({error}); CODEX_HOME has to be a writable folder")
        }
        _ => format!("the database failed: {error}"),
    }
}
