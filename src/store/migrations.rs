//! The schema, in versions. `PRAGMA user_version` says which one a file has; each step leads to the
//! next, and ends with its number. A step that was released is never edited.

use sqlx::SqlitePool;

use super::failure::Problem;

/// The steps. Step `n` (from 1) makes version `n`.
const STEPS: &[&str] = &[
    // Times are Unix milliseconds. A key is never deleted, so that its name cannot pass to another
    // holder. `changed` numbers the changes of all keys: a reader asks for those after the last one
    // that it knows.
    "CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        owner TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        prefix TEXT NOT NULL,
        last_four TEXT NOT NULL,
        role TEXT,
        scopes TEXT NOT NULL,
        per_minute INTEGER,
        per_hour INTEGER,
        per_day INTEGER,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER,
        last_used_at INTEGER,
        replaces TEXT UNIQUE REFERENCES keys (id),
        changed INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX key_names ON keys (name) WHERE replaces IS NULL;
    CREATE INDEX key_changes ON keys (changed);
    PRAGMA user_version = 1;",
];

/// Brings the schema to the newest version.
///
/// # Errors
/// [`Problem::Newer`] if a newer version of the gateway wrote the file; errors of SQLite.
pub(super) async fn run(pool: &SqlitePool) -> Result<(), Problem> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if version(pool).await? == known {
        return Ok(());
    }
    // The write lock comes first: of several processes that start at once, one migrates.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    if found > known {
        return Err(Problem::Newer { found, known });
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn version(pool: &SqlitePool) -> Result<i64, Problem> {
    Ok(sqlx::query_scalar("PRAGMA user_version").fetch_one(pool).await?)
}
