//! What a patch came to, written into its folder: all of it, or nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::patch::Conflict;

use super::Edits;
use super::Files;
use super::not_a_plain_file;
use super::read;
use super::tree::Prepared;
use super::tree::Tree;
use crate::error::Error;

/// The files that are no longer what they were when they were copied.
pub(super) fn changed_since(
    tree: &Tree,
    before: &Files,
    paths: &BTreeSet<PathBuf>,
) -> Result<Vec<Conflict>, Error> {
    let now = read(tree, paths)?;
    let differ = paths.iter().filter(|path| now.get(*path) != before.get(*path));
    Ok(differ
        .map(|path| Conflict {
            path: Some(path.display().to_string()),
            line: None,
            reason: "the file changed while the patch was being applied".to_owned(),
        })
        .collect())
}

/// Writes all edits or none: new files first stand beside their places, and what has been replaced
/// when one replacement fails is put back.
pub(super) fn write(tree: &Tree, before: &Files, edits: &Edits) -> Result<(), Error> {
    let mut made = Vec::new();
    let mut ready: Vec<(&Path, Option<Prepared>)> = Vec::new();
    let mut failure = None;
    for (path, edit) in edits {
        match edit.as_ref().map(|file| tree.prepare(path, file, &mut made)).transpose() {
            Ok(prepared) => ready.push((path, prepared)),
            Err(error) => {
                failure = Some(not_a_plain_file(path, &error));
                break;
            }
        }
    }
    let mut done: Vec<&Path> = Vec::new();
    if failure.is_none() {
        for (path, prepared) in &ready {
            let replaced = match prepared {
                Some(prepared) => prepared.take_place(),
                None => tree.remove(path),
            };
            if let Err(error) = replaced {
                failure = Some(not_a_plain_file(path, &error));
                break;
            }
            done.push(path);
        }
    }
    let Some(failure) = failure else {
        remove_emptied(tree, edits);
        return Ok(());
    };
    for path in &done {
        let back = match before.get(*path) {
            Some(old) => tree.prepare(path, old, &mut Vec::new()).and_then(|old| old.take_place()),
            None => tree.remove(path),
        };
        if let Err(error) = back {
            tracing::error!(%error, path = %path.display(), "a patch could not be taken back");
        }
    }
    ready.iter().filter_map(|(_, prepared)| prepared.as_ref()).for_each(Prepared::discard);
    for folder in made.iter().rev() {
        tree.remove_empty(folder);
    }
    Err(failure)
}

/// Folders that hold nothing after their last file has gone, as git does.
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
    use super::super::tree::File;
    use super::*;

    #[test]
    fn a_replacement_that_fails_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let tree = Tree::open(&root, &root).unwrap();
        let file = |text: &str| File { bytes: text.into(), mode: 0o600 };
        std::fs::write(root.join("a"), "old").unwrap();
        // A folder with something in it cannot be replaced by a file.
        std::fs::create_dir_all(root.join("z/full")).unwrap();
        let before = Files::from([("a".into(), file("old"))]);
        let edits =
            [("a", Some(file("new"))), ("b/c", Some(file("new"))), ("z", Some(file("new")))];
        let edits = edits.map(|(path, edit)| (PathBuf::from(path), edit)).into();
        assert!(write(&tree, &before, &edits).is_err());
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "old");
        let mut left: Vec<_> =
            std::fs::read_dir(&root).unwrap().map(|one| one.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a", "z"]);
    }
}
