//! `apply`: a patch to a folder inside the workspace root, all of it or nothing.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::call_context::CallContext;
use crate::conversation::workspace;
use crate::error::Error;
use crate::patch;
use crate::patch::Patch;
use crate::patch::Status;

/// A patch and where it goes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Apply {
    /// A unified diff, with git's prefixes `a/` and `b/` or without; or codex's form, which begins
    /// with `*** Begin Patch`.
    patch: String,
    /// The folder, inside the workspace root. It may be a git repository and need not be one.
    repo_path: String,
    /// Whether only to say what the patch would do.
    #[serde(default)]
    dry_run: bool,
}

/// What came of a patch.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Applied {
    /// Whether the folder is now as the patch says; never after a dry run.
    applied: bool,
    dry_run: bool,
    /// Whether the patch applies.
    applies: bool,
    /// What it does, or would do, to which file.
    files: Vec<Changed>,
    /// Where it does not apply; then nothing is changed.
    conflicts: Vec<Conflict>,
    /// What the program that applied it printed.
    stdout: String,
    stderr: String,
}

/// A file that a patch changes.
#[derive(Debug, Serialize, JsonSchema)]
struct Changed {
    path: String,
    /// `added`, `modified`, `deleted` or `renamed`.
    status: &'static str,
    /// Where it was, if it is renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

/// A file to which a patch does not apply.
#[derive(Debug, Serialize, JsonSchema)]
struct Conflict {
    path: Option<String>,
    /// The line at which the hunk was expected.
    line: Option<u32>,
    reason: String,
}

pub(super) async fn apply(call: &CallContext, params: Apply) -> Result<Applied, Error> {
    let app = call.app();
    let config = app.config();
    if params.repo_path.is_empty() {
        return Err(Error::invalid("repo_path: expected a string that is not empty"));
    }
    if params.patch.trim().is_empty() {
        return Err(Error::invalid("patch: expected a string that is not empty"));
    }
    let _place = app.command_permit()?;
    let root = &config.workspace_root;
    let folder = workspace::existing(root, &params.repo_path, "repo_path").await?;
    let patch = Patch::parse(params.patch)?;
    // No command in a sandbox reaches this folder.
    let scratch = config.codex_home.join("gateway");
    let report = patch.apply(root, &folder, &scratch, params.dry_run).await?;
    let applies = report.conflicts.is_empty();
    Ok(Applied {
        applied: applies && !params.dry_run,
        dry_run: params.dry_run,
        applies,
        files: report.changes.into_iter().map(Changed::from).collect(),
        conflicts: report.conflicts.into_iter().map(Conflict::from).collect(),
        stdout: report.stdout,
        stderr: report.stderr,
    })
}

impl From<patch::Change> for Changed {
    fn from(change: patch::Change) -> Self {
        let status = match change.status {
            Status::Added => "added",
            Status::Modified => "modified",
            Status::Deleted => "deleted",
            Status::Renamed => "renamed",
        };
        Self { path: change.path, status, from: change.from }
    }
}

impl From<patch::Conflict> for Conflict {
    fn from(conflict: patch::Conflict) -> Self {
        Self { path: conflict.path, line: conflict.line, reason: conflict.reason }
    }
}
