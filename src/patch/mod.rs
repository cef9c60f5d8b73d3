//! Applies a patch to a folder inside the workspace root: all of it or nothing.
//!
//! 1. `parse` reads the patch and checks the paths that it names (`unified` for diffs, `codex` for
//!    codex's own form). Both forms become sections of hunks.
//! 2. `tree` reads the named files through file descriptors; `budget` has counted their sizes.
//! 3. `effect` makes the new contents in memory: `locate` finds the place of each hunk (`search`,
//!    `source`), `splice` replaces its lines, `binary` reads git's binary patches. A byte that no
//!    hunk names stays as it is, or the patch is refused with the place and the reason. Where git
//!    applies a diff, the result is git's, or the diff is refused.
//! 4. Unless it is a dry run, `commit` checks that the original files are unchanged and writes the
//!    effect through `tree`.
//!
//! No program runs, so no size or time is beyond the bounds of `budget`, and no configuration of a
//! repository matters.
//!
//! Called by `rpc::apply`.

mod binary;
mod budget;
mod codex;
mod commit;
mod effect;
mod locate;
mod parse;
mod report;
mod search;
mod section;
mod source;
mod splice;
#[cfg(test)]
mod tests;
mod tree;
mod unified;

use std::path::Path;

use self::budget::AbandonOnDrop;
use self::budget::Budget;
pub use self::parse::Patch;
pub use self::report::Change;
pub use self::report::Conflict;
pub use self::report::Report;
pub use self::report::Status;
use self::tree::Tree;
use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

/// Held from the last check of the original files until they are replaced, so that patches do not
/// interleave.
static COMMIT: Mutex<()> = Mutex::new(());

impl Patch {
    /// Applies the patch to `folder`, which lies below `root`. Ends early if the caller leaves,
    /// unless the files are being replaced already.
    ///
    /// # Errors
    /// `InvalidRequest` if a named path is not a plain file or leads through a link; `TooLarge`,
    /// `TimedOut` and `Overloaded` beyond the limits. No file is changed then.
    pub async fn apply(self, root: &Path, folder: &Path, dry_run: bool) -> Result<Report, Error> {
        let (root, folder) = (root.to_owned(), folder.to_owned());
        let client = AbandonOnDrop::default();
        let mut budget = Budget::new(&client);
        tokio::task::spawn_blocking(move || {
            let tree = Tree::open(&root, &folder).map_err(not_a_plain_folder)?;
            self.run(&tree, dry_run, &mut budget)
        })
        .await
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?
    }

    fn run(&self, tree: &Tree, dry_run: bool, budget: &mut Budget) -> Result<Report, Error> {
        // Spans, indexes and automata: about this many bytes for each byte of the text.
        budget.hold(self.text.len() as u64 * 32)?;
        let size = tree.measure(&self.paths, budget)?;
        budget.hold(size)?;
        let before = tree.read_all(&self.paths, size)?;
        let effect = effect::effect(self, &before, budget)?;
        let lines = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect();
        let mut report = Report { conflicts: effect.conflicts, ..Report::default() };
        if report.conflicts.is_empty() && !dry_run {
            let _guard = COMMIT.lock();
            report.conflicts = commit::changed_since(tree, &before, &self.paths, budget)?;
            if report.conflicts.is_empty() {
                commit::write(tree, &before, &effect.edits, budget)?;
            }
        }
        if report.conflicts.is_empty() {
            report.changes =
                report::changes(&effect.edits, &before, &effect::renames(&self.sections));
            report.stdout = lines(report.changes.iter().map(Change::summary).collect());
            report.stderr = lines(effect.notes);
        } else {
            report.stderr = lines(report.conflicts.iter().map(Conflict::summary).collect());
        }
        Ok(report)
    }
}

fn not_a_plain_folder(error: std::io::Error) -> Error {
    Error::invalid(format!("repo_path: expected a folder whose path has no link: {error}"))
}
