//! Recordings on disk, read as files that a crash, a full disk or a bad sector may have damaged.
//!
//! Core skips a line that is no JSON, refuses a recording with one that is not UTF-8, and refuses
//! one whose first line is damaged or missing. So a recording is repaired before core reads it:
//! whole lines stay, what can be told from the others is written again, and the file as it was
//! stays beside it.
//!
//! - [`load`]: a recording for core, repaired; - `repair`: the repair;
//! - `scan`: what recordings say of their conversations; - `page`: recorded turns, a page at a time

mod page;
mod repair;
mod scan;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;

use codex_protocol::ThreadId;
use codex_protocol::protocol::RolloutItem;
use codex_protocol::protocol::RolloutLine;

pub(super) use self::page::page;
pub(super) use self::scan::recorded_conversations;

/// The outcome of [`prepare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is no whole line: the conversation has no turn yet.
    Empty,
    /// There is at least one whole line.
    Readable {
        /// The number of damaged lines, no longer in the file.
        damaged_lines: usize,
    },
}

/// Repairs the recording of a conversation that is not live, where it is damaged.
///
/// # Errors
/// The recording cannot be read, or its repair cannot be written.
pub(super) async fn prepare(path: PathBuf, id: ThreadId) -> io::Result<Condition> {
    // Core compresses recordings and verifies what it has compressed.
    if path.extension().is_some_and(|extension| extension != "jsonl") {
        return Ok(Condition::Readable { damaged_lines: 0 });
    }
    tokio::task::spawn_blocking(move || repair::repair(&path, id)).await?
}

/// The lines of a file, without their line feeds.
fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let lines = BufReader::new(File::open(path)?).split(b'\n');
    Ok(lines.filter(|line| !line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty())))
}

/// A line as JSON text, if it is whole.
fn whole(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let is_object = text.starts_with('{');
    (is_object && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()).then_some(text)
}

/// The item of a whole line. `None` for one of another version of core.
fn item(line: &str) -> Option<RolloutItem> {
    serde_json::from_str::<RolloutLine>(line).ok().map(|line| line.item)
}
