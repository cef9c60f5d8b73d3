//! [`Report`]: the changes of a patch, or its conflicts.

use std::path::Path;
use std::path::PathBuf;

use super::tree::Edits;
use super::tree::Files;

/// The effect of a patch on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The file is new.
    Added,
    /// The file existed, and its content or mode changes.
    Modified,
    /// The file is removed.
    Deleted,
    /// The file existed under another path.
    Renamed,
}

/// A file that a patch changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the patched folder.
    pub path: String,
    /// The effect.
    pub status: Status,
    /// The previous path of a renamed file.
    pub from: Option<String>,
}

/// A place where a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The file, if known.
    pub path: Option<String>,
    /// The line at which the hunk was expected to apply.
    pub line: Option<u32>,
    /// The reason.
    pub reason: String,
}

/// The result of applying a patch.
#[derive(Debug, Default)]
pub struct Report {
    /// The changed files; empty if there are conflicts.
    pub changes: Vec<Change>,
    /// The places where the patch does not apply.
    pub conflicts: Vec<Conflict>,
    /// The changed files, a line for each.
    pub stdout: String,
    /// Conflicts, and hunks that apply at other lines than stated; a line for each.
    pub stderr: String,
}

impl Change {
    /// One line: a letter for the status, and the path.
    pub(super) fn summary(&self) -> String {
        let letter = match self.status {
            Status::Added => 'A',
            Status::Modified => 'M',
            Status::Deleted => 'D',
            Status::Renamed => 'R',
        };
        let from = self.from.as_ref().map_or(String::new(), |from| format!("{from} -> "));
        format!("{letter} {from}{}", self.path)
    }
}

impl Conflict {
    /// One line: the place and the reason.
    pub(super) fn summary(&self) -> String {
        let path = self.path.as_deref().unwrap_or("patch");
        let line = self.line.map_or(String::new(), |line| format!(":{line}"));
        format!("error: {path}{line}: {}", self.reason)
    }
}

/// Describes edits. A rename is one change: the removal of the old path is not listed.
pub(super) fn changes(
    edits: &Edits,
    before: &Files,
    renames: &[(PathBuf, PathBuf)],
) -> Vec<Change> {
    let text = |path: &Path| path.display().to_string();
    let removed = |path: &Path| matches!(edits.get(path), Some(None));
    let written = |path: &Path| matches!(edits.get(path), Some(Some(_)));
    let renamed_from = |to: &Path| renames.iter().find(|(from, new)| new == to && removed(from));
    let renamed_to = |path: &Path| renames.iter().any(|(from, to)| from == path && written(to));
    let mut changes = Vec::new();
    for (path, edit) in edits {
        let (status, from) = match (edit, renamed_from(path)) {
            (Some(_), Some((from, _))) => (Status::Renamed, Some(text(from))),
            (Some(_), None) if before.contains_key(path) => (Status::Modified, None),
            (Some(_), None) => (Status::Added, None),
            (None, _) if renamed_to(path) => continue,
            (None, _) => (Status::Deleted, None),
        };
        changes.push(Change { path: text(path), status, from });
    }
    changes
}
