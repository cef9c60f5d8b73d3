//! Writes the effect of a patch into its folder: all of it or nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::patch::Conflict;

use super::tree::Edits;
use super::tree::Files;
use super::tree::Prepared;
use super::tree::Tree;
use super::tree::not_a_plain_file;
use crate::error::Error;

/// Returns a conflict for each file that is no longer as it was in `before`.
pub(super) fn changed_since(
    tree: &Tree,
    before: &Files,
    paths: &BTreeSet<PathBuf>,
) -> Result<Vec<Conflict>, Error> {
    let now = tree.read_all(paths)?;
    let differ = paths.iter().filter(|path| now.get(*path) != before.get(*path));
    Ok(differ
        .map(|path| Conflict {
            path: Some(path.display().to_string()),
            line: None,
            reason: "the file changed while the patch was being applied".to_owned(),
        })
        .collect())
}

/// Writes all edits or none.
///
/// Every new file is first written beside its target. If a replacement fails, the replacements
/// before it are reverted.
pub(super) fn write(tree: &Tree, before: &Files, edits: &Edits) -> Result<(), Error> {
    let mut created = Vec::new();
    let mut ready: Vec<(&Path, Option<Prepared>)> = Vec::new();
    let mut failure = None;
    for (path, edit) in edits {
        match edit.as_ref().map(|file| tree.prepare(path, file, &mut created)).transpose() {
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
                Some(prepared) => prepared.replace(),
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
        let reverted = match before.get(*path) {
            Some(old) => tree.prepare(path, old, &mut Vec::new()).and_then(|old| old.replace()),
            None => tree.remove(path),
        };
        if let Err(error) = reverted {
            tracing::error!(%error, path = %path.display(), "cannot revert a patched file");
        }
    }
    ready.iter().filter_map(|(_, prepared)| prepared.as_ref()).for_each(Prepared::discard);
    for folder in created.iter().rev() {
        tree.remove_empty(folder);
    }
    Err(failure)
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
    use super::super::tree::File;
    use super::*;

    #[test]
    fn failed_replacement_reverts_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let tree = Tree::open(&root, &root).unwrap();
        let file = |text: &str| File { bytes: text.into(), mode: 0o600 };
        std::fs::write(root.join("a"), "old").unwrap();
        // A file cannot replace a folder that is not empty.
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
