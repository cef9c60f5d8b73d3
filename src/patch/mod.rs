//! Applies a patch to a folder inside the workspace root: all of it or nothing.
//!
//! 1. `parse` reads the patch and checks the paths that it names (`unified` for diffs, the engine
//!    for codex's own form).
//! 2. `scratch` copies the named files into a folder that sandboxed commands cannot reach. The
//!    engine applies the patch there.
//! 3. The difference between the copies before and after is the effect of the patch. Unless it is
//!    a dry run, `commit` checks that the original files are unchanged and writes the effect
//!    through file descriptors (`tree`).
//!
//! Called by `rpc::apply`.

mod commit;
mod parse;
mod scratch;
mod tree;
mod unified;

use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::patch;
pub use codex_gateway_engine::patch::Conflict;

use self::parse::Form;
pub use self::parse::Patch;
use self::scratch::Scratch;
pub use self::scratch::remove_leftovers;
use self::tree::Edits;
use self::tree::File;
use self::tree::Files;
use self::tree::Tree;
use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

/// Held from the last check of the original files until they are replaced, so that patches do not
/// interleave.
static COMMIT: Mutex<()> = Mutex::new(());

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

/// The result of applying a patch.
#[derive(Debug, Default)]
pub struct Report {
    /// The changed files; empty if there are conflicts.
    pub changes: Vec<Change>,
    /// The places where the patch does not apply.
    pub conflicts: Vec<Conflict>,
    /// Standard output of the program that applied the patch.
    pub stdout: String,
    /// Standard error of that program.
    pub stderr: String,
}

impl Patch {
    /// Applies the patch to `folder`, which lies below `root`. `scratch_root` must not be writable
    /// by sandboxed commands.
    ///
    /// # Errors
    /// `InvalidRequest` if a named path is not a plain file or leads through a link; `TooLarge`;
    /// `Engine` if applying fails for a reason other than the patch. No file is changed then.
    pub async fn apply(
        self,
        root: &Path,
        folder: &Path,
        scratch_root: &Path,
        dry_run: bool,
    ) -> Result<Report, Error> {
        let tree = Tree::open(root, folder).map_err(not_a_plain_folder)?;
        let (paths, scratch_root) = (self.paths.clone(), scratch_root.to_owned());
        let (tree, before, scratch) = blocking(move || {
            let before = tree.read_all(&paths)?;
            let scratch = Scratch::create(&scratch_root, &before)?;
            Ok((tree, before, scratch))
        })
        .await?;
        let outcome = match &self.form {
            Form::Unified { strip } => {
                patch::apply_unified(scratch.folder(), &self.text, *strip).await
            }
            Form::Codex(parsed) => parsed.apply(scratch.folder()).await,
        };
        let outcome = outcome.map_err(|error| Error::from(error).at_field("patch"))?;
        let mut report = Report {
            changes: Vec::new(),
            conflicts: outcome.conflicts,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
        };
        if !report.conflicts.is_empty() {
            return Ok(report);
        }
        blocking(move || {
            let edits = edits(&before, &scratch.read(&self.paths)?);
            report.changes = changes(&edits, &before, &self.renames);
            if !dry_run {
                let _guard = COMMIT.lock();
                report.conflicts = commit::changed_since(&tree, &before, &self.paths)?;
                if report.conflicts.is_empty() {
                    commit::write(&tree, &before, &edits)?;
                } else {
                    report.changes.clear();
                }
            }
            Ok(report)
        })
        .await
    }
}

/// Returns the edits that turn `before` into `after`.
fn edits(before: &Files, after: &Files) -> Edits {
    let mut edits = Edits::new();
    for (path, new) in after {
        let mode = match before.get(path) {
            Some(old) if old.is_executable() == new.is_executable() => old.mode,
            // Git records only whether a file is executable.
            Some(old) if new.is_executable() => old.mode | 0o111,
            Some(old) => old.mode & !0o111,
            None if new.is_executable() => 0o755,
            None => 0o644,
        };
        let new = File { bytes: new.bytes.clone(), mode };
        if before.get(path) != Some(&new) {
            edits.insert(path.clone(), Some(new));
        }
    }
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        edits.insert(path.clone(), None);
    }
    edits
}

/// Describes edits. A rename is one change: the removal of the old path is not listed.
fn changes(edits: &Edits, before: &Files, renames: &[(PathBuf, PathBuf)]) -> Vec<Change> {
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?
}

fn not_a_plain_folder(error: std::io::Error) -> Error {
    Error::invalid(format!("repo_path: expected a folder whose path has no link: {error}"))
}
