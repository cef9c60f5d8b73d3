//! Writes the effect of a patch into its folder: all of it or nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use super::budget::Budget;
use super::report::Conflict;
use super::tree::Edits;
use super::tree::Files;
use super::tree::Prepared;
use super::tree::Tree;
use super::tree::WorkspaceLock;
use super::tree::not_a_plain_file;
use crate::error::Error;

/// Returns a conflict for each file that is no longer as it was in `before`.
pub(super) fn changed_since(
    tree: &Tree,
    before: &Files,
    paths: &BTreeSet<PathBuf>,
    budget: &Budget,
) -> Result<Vec<Conflict>, Error> {
    let mut conflicts = Vec::new();
    for path in paths {
        budget.check()?;
        if !tree.is_still(path, before.get(path)).map_err(|error| not_a_plain_file(path, &error))? {
            conflicts.push(Conflict {
                path: Some(path.display().to_string()),
                line: None,
                reason: "the file changed while the patch was being applied".to_owned(),
            });
        }
    }
    Ok(conflicts)
}

/// Writes all edits or none.
///
/// Every new file is first written beside its target, to the disk. Then each replaces its target
/// atomically. If a replacement fails, those before it are reverted. Only a crash between two
/// replacements leaves some files new and others old, but each of them whole.
///
/// # Errors
/// `InvalidRequest` if a file cannot be written; those of [`Budget::check`] before the first
/// replacement.
pub(super) fn write(
    tree: &Tree,
    before: &Files,
    edits: &Edits,
    budget: &Budget,
) -> Result<(), Error> {
    let lock = tree.try_lock();
    if let Some(lock) = &lock {
        remove_leftovers(tree, lock, edits);
    }
    let mut created = Vec::new();
    let mut ready = Vec::new();
    let mut done = Vec::new();
    let written = prepare(tree, edits, budget, &mut created, &mut ready)
        .and_then(|()| replace(tree, &ready, &mut done));
    if written.is_ok() {
        sync_folders(tree, edits);
        remove_emptied(tree, edits);
        return Ok(());
    }
    for path in &done {
        let reverted = match before.get(*path) {
            Some(old) => {
                tree.prepare(path, old, &mut Vec::new()).and_then(|old| tree.replace(&old))
            }
            None => tree.remove(path),
        };
        if let Err(error) = reverted {
            tracing::error!(%error, path = %path.display(), "cannot revert a patched file");
        }
    }
    ready
        .iter()
        .filter_map(|(_, prepared)| prepared.as_ref())
        .for_each(|prepared| tree.discard(prepared));
    for folder in created.iter().rev() {
        tree.remove_empty(folder);
    }
    written
}

/// A path with its new file; `None` removes it.
type Ready<'a> = (&'a Path, Option<Prepared>);

/// Writes every new file beside its target.
fn prepare<'a>(
    tree: &Tree,
    edits: &'a Edits,
    budget: &Budget,
    created: &mut Vec<PathBuf>,
    ready: &mut Vec<Ready<'a>>,
) -> Result<(), Error> {
    for (path, edit) in edits {
        budget.check()?;
        let prepared = edit.as_ref().map(|file| tree.prepare(path, file, created)).transpose();
        ready.push((path, prepared.map_err(|error| not_a_plain_file(path, &error))?));
    }
    budget.check()
}

/// Puts every new file in its place. Lists the paths in `done`.
fn replace<'a>(tree: &Tree, ready: &[Ready<'a>], done: &mut Vec<&'a Path>) -> Result<(), Error> {
    for (path, prepared) in ready {
        let replaced = match prepared {
            Some(prepared) => tree.replace(prepared),
            None => tree.remove(path),
        };
        replaced.map_err(|error| not_a_plain_file(path, &error))?;
        done.push(path);
    }
    Ok(())
}

/// The folders of the changed files.
fn folders(edits: &Edits) -> BTreeSet<&Path> {
    edits.keys().filter_map(|path| path.parent()).collect()
}

/// Removes what killed processes left in the folders of the changed files.
fn remove_leftovers(tree: &Tree, lock: &WorkspaceLock<'_>, edits: &Edits) {
    for folder in folders(edits) {
        if let Err(error) = tree.remove_leftovers(lock, &folder.join("file")) {
            tracing::warn!(%error, folder = %folder.display(), "cannot look for leftovers");
        }
    }
}

/// Writes the new names to the disk. A failure is only logged: the files are in place.
fn sync_folders(tree: &Tree, edits: &Edits) {
    for folder in folders(edits) {
        if let Err(error) = tree.sync_folder(&folder.join("file")) {
            tracing::warn!(%error, folder = %folder.display(), "cannot sync a patched folder");
        }
    }
}

/// Removes folders whose last file was removed, as git does.
fn remove_emptied(tree: &Tree, edits: &Edits) {
    for (path, _) in edits.iter().filter(|(_, edit)| edit.is_none()) {
        let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        for folder in folders {
            if !tree.remove_empty(folder) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::AbandonOnDrop;
    use super::super::tree::File;
    use super::*;

    fn file(text: &str) -> File {
        File { bytes: text.into(), mode: 0o600 }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn failed_replacement_reverts_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let tree = Tree::open(&root, &root).unwrap();
        std::fs::write(root.join("a"), "old").unwrap();
        // A file cannot replace a folder that is not empty.
        std::fs::create_dir_all(root.join("z/full")).unwrap();
        let before = Files::from([("a".into(), file("old"))]);
        let edits =
            [("a", Some(file("new"))), ("b/c", Some(file("new"))), ("z", Some(file("new")))];
        let edits = edits.map(|(path, edit)| (PathBuf::from(path), edit)).into();
        let client = AbandonOnDrop::default();
        assert!(write(&tree, &before, &edits, &Budget::new(&client)).is_err());
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "old");
        assert_eq!(names(&root), ["a", "z"]);
    }

    #[test]
    fn caller_that_left_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let tree = Tree::open(&root, &root).unwrap();
        let edits = [(PathBuf::from("d/a"), Some(file("new")))].into();
        let budget = Budget::new(&AbandonOnDrop::default());
        assert!(write(&tree, &Files::new(), &edits, &budget).is_err());
        assert!(names(&root).is_empty());
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let tree = Tree::open(&root, &root).unwrap();
        let leftover = format!(".{}.patch", uuid::Uuid::new_v4());
        let kept = [".not-one.patch", "a.patch"];
        std::fs::create_dir(root.join("d")).unwrap();
        for name in kept.into_iter().chain([leftover.as_str()]) {
            std::fs::write(root.join("d").join(name), "half").unwrap();
        }
        let edits = [(PathBuf::from("d/a"), Some(file("new")))].into();
        let client = AbandonOnDrop::default();
        let other = Tree::open(&root, &root).unwrap();
        let lock = other.try_lock().unwrap();
        write(&tree, &Files::new(), &edits, &Budget::new(&client)).unwrap();
        assert!(root.join("d").join(&leftover).exists(), "it may be another process's");
        drop(lock);
        write(&tree, &Files::new(), &edits, &Budget::new(&client)).unwrap();
        assert_eq!(names(&root.join("d")), [".not-one.patch", "a", "a.patch"]);
    }
}
