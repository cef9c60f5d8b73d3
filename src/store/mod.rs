//! The gateway's own database: one SQLite file, `CODEX_HOME/gateway/gateway.sqlite`, beside core's.
//!
//! - [`Store`]: the open database. One connection writes and reads; other processes (the command
//!   line) may open the file at the same time;
//! - [`Failure`]: why it cannot be used, as a sentence for the operator;
//! - `journal`: write-ahead log or rollback journal, by the file system;
//! - `migrations`: the schema.

mod failure;
mod journal;
mod migrations;

use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::sqlite::SqliteSynchronous;

pub use self::failure::Failure;
use self::failure::Problem;
use self::journal::Journal;

/// The file in the gateway's folder of `CODEX_HOME`.
const FILE: &str = "gateway.sqlite";
/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The open database. Clones share its connection.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    path: PathBuf,
}

impl Store {
    /// Returns where the database of a `CODEX_HOME` is.
    pub fn path_in(codex_home: &Path) -> PathBuf {
        codex_home.join("gateway").join(FILE)
    }

    /// Opens the database, and creates it if it is missing.
    ///
    /// # Errors
    /// [`Failure`]: the folder is not writable, the file is damaged or of a newer version.
    pub async fn open(codex_home: &Path) -> Result<Self, Failure> {
        let path = Self::path_in(codex_home);
        let journal = prepare(&path).map_err(|error| Failure::at(&path, Problem::File(error)))?;
        Self::open_with(path, journal).await
    }

    /// Opens the database if it exists.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_existing(codex_home: &Path) -> Result<Option<Self>, Failure> {
        match Self::path_in(codex_home).exists() {
            true => Self::open(codex_home).await.map(Some),
            false => Ok(None),
        }
    }

    async fn open_with(path: PathBuf, journal: Journal) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(journal.mode())
            // A key that was shown once must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Statements carry hashes and labels.
            .disable_statement_logging();
        // One connection: statements of this process queue instead of failing as busy, and
        // `PRAGMA data_version` is that of this connection.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(BUSY_TIMEOUT * 2)
            .connect_with(options)
            .await
            .map_err(|error| Failure::at(&path, Problem::Database(error)))?;
        let store = Self { pool, path };
        match migrations::run(&store.pool).await {
            Ok(()) => Ok(store),
            Err(problem) => {
                store.pool.close().await;
                Err(Failure::at(&store.path, problem))
            }
        }
    }

    /// Returns a number that changes when another connection, of this or another process, has
    /// written. It costs a few microseconds.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn data_version(&self) -> Result<i64, Failure> {
        let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&self.pool).await;
        version.map_err(|error| self.failure(error))
    }

    /// Closes the database after the statements that run.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn failure(&self, error: sqlx::Error) -> Failure {
        Failure::at(&self.path, Problem::Database(error))
    }
}

/// Creates the folder and the file, readable to their owner alone. SQLite gives the permissions of
/// the file to those beside it.
fn prepare(path: &Path) -> io::Result<Journal> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(Journal::of(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(home: &Path) -> String {
        Store::open(home).await.unwrap_err().to_string()
    }

    fn write(home: &Path, bytes: &[u8]) {
        std::fs::create_dir_all(home.join("gateway")).unwrap();
        std::fs::write(Store::path_in(home), bytes).unwrap();
    }

    #[tokio::test]
    async fn database_is_private_and_durable() {
        let home = tempfile::tempdir().unwrap();
        assert!(Store::open_existing(home.path()).await.unwrap().is_none());
        let store = Store::open(home.path()).await.unwrap();
        for (pragma, expected) in [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1)] {
            let value: i64 = sqlx::query_scalar(pragma).fetch_one(&store.pool).await.unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.pool).await.unwrap();
        assert_eq!(mode, "wal");
        for file in std::fs::read_dir(home.path().join("gateway")).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.path());
        }
        assert!(Store::open_existing(home.path()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn open_permissions_are_taken_back() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), b"");
        let path = Store::path_in(home.path());
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Store::open(home.path()).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn links_are_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("gateway")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", Store::path_in(home.path())).unwrap();
        assert!(refusal(home.path()).await.contains("writable"));
    }

    #[tokio::test]
    async fn damaged_and_newer_databases_are_refused() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), &[b'x'; 8192]);
        let damaged = refusal(home.path()).await;
        assert!(damaged.contains("damaged") && damaged.contains("gateway.sqlite"), "{damaged}");

        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 999").execute(&store.pool).await.unwrap();
        store.close().await;
        let newer = refusal(home.path()).await;
        assert!(newer.contains("newer version") && newer.contains("999"), "{newer}");
    }

    #[tokio::test]
    async fn unusable_home_is_named() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("gateway"), "a file").unwrap();
        let refused = refusal(home.path()).await;
        assert!(refused.contains("CODEX_HOME has to be a writable folder"), "{refused}");
    }

    #[tokio::test]
    async fn other_connections_are_noticed() {
        for journal in [Journal::WriteAhead, Journal::Rollback] {
            let home = tempfile::tempdir().unwrap();
            let path = Store::path_in(home.path());
            prepare(&path).unwrap();
            let one = Store::open_with(path.clone(), journal).await.unwrap();
            let other = Store::open_with(path, journal).await.unwrap();
            let before = one.data_version().await.unwrap();
            assert_eq!(one.data_version().await.unwrap(), before);
            sqlx::raw_sql("CREATE TABLE noted (n)").execute(&other.pool).await.unwrap();
            assert_ne!(one.data_version().await.unwrap(), before);
        }
    }

    #[tokio::test]
    async fn many_may_open_at_once() {
        let home = tempfile::tempdir().unwrap();
        let opening = (0..8).map(|_| Store::open(home.path()));
        for opened in futures::future::join_all(opening).await {
            opened.unwrap();
        }
    }
}
