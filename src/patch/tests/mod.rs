//! Patches applied to files in memory: the reports of users, and git as the judge.

mod codex;
mod git;
mod unified;
mod work;

use std::path::Path;

use super::budget::AbandonOnDrop;
use super::budget::Budget;
use super::effect::effect;
use super::parse::Patch;
use super::report::Conflict;
use super::tree::File;
use super::tree::Files;

/// Files by name.
type Tree = std::collections::BTreeMap<String, Vec<u8>>;

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

/// Applies a patch to files. Returns the files after it, or every reason why not.
fn apply(files: &Tree, patch: &str) -> Result<Tree, String> {
    let client = AbandonOnDrop::default();
    apply_within(files, patch, &mut Budget::new(&client))
}

fn apply_within(files: &Tree, patch: &str, budget: &mut Budget) -> Result<Tree, String> {
    let patch = Patch::parse(patch.to_owned()).map_err(|error| error.to_string())?;
    let named = files.iter().filter(|(name, _)| patch.paths.contains(Path::new(name)));
    let before: Files = named
        .map(|(name, bytes)| (name.into(), File { bytes: bytes.clone(), mode: 0o644 }))
        .collect();
    let effect = effect(&patch, &before, budget).map_err(|error| error.to_string())?;
    if !effect.conflicts.is_empty() {
        let reasons: Vec<String> = effect.conflicts.iter().map(Conflict::summary).collect();
        return Err(reasons.join("\n"));
    }
    let mut after = files.clone();
    for (path, edit) in effect.edits {
        let name = path.display().to_string();
        match edit {
            Some(file) => after.insert(name, file.bytes),
            None => after.remove(&name),
        };
    }
    Ok(after)
}

/// Applies a patch to one file `f`. Returns its text.
fn apply_to(file: &str, patch: &str) -> Result<String, String> {
    let mut after = apply(&tree(&[("f", file)]), patch)?;
    assert_eq!(after.len(), 1, "{after:?}");
    Ok(String::from_utf8(after.remove("f").unwrap()).unwrap())
}

/// Asserts that a patch is refused, with a word of the reason.
fn refused(result: Result<impl std::fmt::Debug, String>, word: &str) {
    let reason = result.unwrap_err();
    assert!(reason.contains(word), "expected {word:?} in {reason:?}");
}
