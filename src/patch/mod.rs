//! Patches: applied to a folder inside the workspace root, all of it or nothing.
//!
//! 1. What the patch names is read and checked: `unified`, or the engine's reader of codex's form.
//! 2. The files that it names are copied into a folder that only the gateway reaches (`scratch`), and
//!    the engine applies it there.
//! 3. What has changed there is what the patch does; unless it is a dry run, it is written into the
//!    folder (`commit`) by descriptors (`tree`), after one more look whether the files are the same.
//!
//! Called by `rpc::apply`.

mod commit;
mod scratch;
mod tree;
mod unified;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::patch;
use codex_gateway_engine::patch::CodexPatch;
pub use codex_gateway_engine::patch::Conflict;

use self::scratch::Scratch;
use self::tree::File;
use self::tree::Tree;
use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;
use crate::text::excerpt;

/// What the files that one patch names may weigh together.
const MAX_BYTES: u64 = 64 << 20;

/// Writing is for one patch at a time: between the last look at the files and their replacement
/// there is no other patch.
static WRITING: Mutex<()> = Mutex::new(());

/// What a patch does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was not there.
    Added,
    /// It was there.
    Modified,
    /// It is gone.
    Deleted,
    /// It was there under another path.
    Renamed,
}

/// A file and what a patch does to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path in the folder.
    pub path: String,
    /// What is done to it.
    pub status: Status,
    /// Where it was, where it is renamed.
    pub from: Option<String>,
}

/// What came of a patch.
#[derive(Debug, Default)]
pub struct Report {
    /// What it does; nothing where there are conflicts.
    pub changes: Vec<Change>,
    /// Where it does not apply.
    pub conflicts: Vec<Conflict>,
    /// What the program that applied it printed.
    pub stdout: String,
    /// What it printed as errors.
    pub stderr: String,
}

/// A patch whose paths have been checked.
#[derive(Debug)]
pub struct Patch {
    text: String,
    form: Form,
    paths: BTreeSet<PathBuf>,
    renames: Vec<(PathBuf, PathBuf)>,
}

#[derive(Debug)]
enum Form {
    Unified { strip: u8 },
    Codex(CodexPatch),
}

type Files = BTreeMap<PathBuf, File>;
/// What each file becomes that changes, or `None` where it goes.
type Edits = BTreeMap<PathBuf, Option<File>>;

impl Patch {
    /// Reads a patch; its first line says which form it has.
    ///
    /// # Errors
    /// `InvalidRequest` where it is no patch, or names a path that leads out of its folder, into
    /// `.git`, or to something else than a plain file.
    pub fn parse(text: String) -> Result<Self, Error> {
        let mut paths = BTreeSet::new();
        let mut renames = Vec::new();
        let form = if CodexPatch::is(&text) {
            let parsed =
                CodexPatch::parse(&text).map_err(|error| Error::from(error).at_field("patch"))?;
            for (path, moved) in parsed.paths() {
                let path = checked(&path.to_string_lossy())?;
                if let Some(moved) = moved {
                    let moved = checked(&moved.to_string_lossy())?;
                    paths.insert(moved.clone());
                    renames.push((path.clone(), moved));
                }
                paths.insert(path);
            }
            Form::Codex(parsed)
        } else {
            let touched = unified::touched(&text)?;
            for path in &touched.paths {
                paths.insert(checked(path)?);
            }
            for (from, to) in &touched.renames {
                renames.push((checked(from)?, checked(to)?));
            }
            Form::Unified { strip: touched.strip }
        };
        Ok(Self { text, form, paths, renames })
    }

    /// Applies it to `folder`, which lies below `root`. `scratch` is a folder for copies that only
    /// the gateway reaches.
    ///
    /// # Errors
    /// `InvalidRequest` names the path where a link or no plain file is in the way; `TooLarge`;
    /// `Engine` where it could not be applied for another reason than the patch. Nothing is changed
    /// then.
    pub async fn apply(
        self,
        root: &Path,
        folder: &Path,
        scratch: &Path,
        dry_run: bool,
    ) -> Result<Report, Error> {
        let (tree, paths) = (Tree::open(root, folder).map_err(no_folder)?, self.paths.clone());
        let scratch = scratch.to_owned();
        let (tree, before, scratch) = blocking(move || {
            let before = read(&tree, &paths)?;
            let scratch = Scratch::make(&scratch, &before).map_err(|error| broken(&error))?;
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
            let after = scratch.read(&self.paths)?;
            let edits = edits(&before, &after);
            report.changes = changes(&edits, &before, &self.renames);
            if !dry_run {
                let _writing = WRITING.lock();
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

/// Removes from `scratch` what processes left that were killed while they applied a patch.
///
/// # Errors
/// It cannot be read, or a folder in it not removed.
pub fn remove_leftovers(scratch: &Path) -> std::io::Result<()> {
    scratch::remove_leftovers(scratch)
}

/// A path as a patch names it, inside its folder.
fn checked(path: &str) -> Result<PathBuf, Error> {
    let refuse = |expected: &str| {
        Err(Error::invalid(format!("patch: expected {expected}, got {}", excerpt(path))))
    };
    let mut inside = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) if name.eq_ignore_ascii_case(".git") => {
                return refuse("no path in .git");
            }
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return refuse("paths inside repo_path");
            }
        }
    }
    if inside.as_os_str().is_empty() || path.ends_with('/') || path.contains('\0') {
        return refuse("paths of files");
    }
    Ok(inside)
}

/// The files that are there of those that a patch names.
fn read(tree: &Tree, paths: &BTreeSet<PathBuf>) -> Result<Files, Error> {
    let mut files = Files::new();
    let mut room = MAX_BYTES;
    for path in paths {
        match tree.read(path, room) {
            Ok(Some(file)) => {
                room = room.saturating_sub(file.bytes.len() as u64);
                files.insert(path.clone(), file);
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(Error::new(
                    Kind::TooLarge,
                    format!("patch: expected to touch files of at most {MAX_BYTES} bytes together"),
                ));
            }
            Err(error) => return Err(not_a_plain_file(path, &error)),
        }
    }
    Ok(files)
}

/// What to do with each file that has changed: what it becomes, or `None` where it goes.
fn edits(before: &Files, after: &Files) -> Edits {
    let mut edits = Edits::new();
    for (path, new) in after {
        let mode = match before.get(path) {
            Some(old) if old.is_executable() == new.is_executable() => old.mode,
            // Git knows of a mode only whether it is a program's.
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

fn changes(edits: &Edits, before: &Files, renames: &[(PathBuf, PathBuf)]) -> Vec<Change> {
    let text = |path: &Path| path.display().to_string();
    let gone = |path: &Path| matches!(edits.get(path), Some(None));
    let renamed = |to: &Path| renames.iter().find(|(from, new)| new == to && gone(from));
    let mut changes = Vec::new();
    for (path, edit) in edits {
        let (status, from) = match (edit, renamed(path)) {
            (Some(_), Some((from, _))) => (Status::Renamed, Some(text(from))),
            (Some(_), None) if before.contains_key(path) => (Status::Modified, None),
            (Some(_), None) => (Status::Added, None),
            // Its entry is the one of the new path.
            (None, _)
                if renames
                    .iter()
                    .any(|(from, to)| from == path && matches!(edits.get(to), Some(Some(_)))) =>
            {
                continue;
            }
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

fn not_a_plain_file(path: &Path, error: &io::Error) -> Error {
    Error::invalid(format!(
        "patch: expected plain files in plain folders, with no link on the way, at {}: {error}",
        excerpt(&path.display().to_string())
    ))
}

fn no_folder(error: io::Error) -> Error {
    Error::invalid(format!("repo_path: expected a folder with no link on the way: {error}"))
}

fn broken(error: &io::Error) -> Error {
    Error::new(Kind::Internal, format!("the patch's files could not be copied: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_its_folder() {
        for (path, expected) in [
            ("a", Some("a")),
            ("./a/b", Some("a/b")),
            ("a/./b", Some("a/b")),
            (".gitignore", Some(".gitignore")),
            ("a.git/b", Some("a.git/b")),
            ("..", None),
            ("a/../b", None),
            ("/etc/passwd", None),
            (".git/config", None),
            ("sub/.GIT/hooks/x", None),
            ("", None),
            (".", None),
            ("a/", None),
        ] {
            let found = checked(path).ok();
            assert_eq!(found.as_deref(), expected.map(Path::new), "{path}");
        }
    }
}
