//! Applies a patch to a folder inside the workspace root, as a whole or not at all (`apply`).

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::app::App;
use crate::error::Error;
use crate::input::path::FolderPath;
use crate::input::text::SomeText;
use crate::patch;
use crate::patch::Patch;
use crate::patch::Status;

/// A patch to apply.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchRequest {
    /// A unified diff, with or without git's prefixes `a/` and `b/`; or codex's form, which begins
    /// with `*** Begin Patch`.
    patch: SomeText,
    /// The folder, inside the workspace root. It need not be a git repository.
    repo_path: FolderPath,
    /// Whether only to report what the patch would change.
    #[serde(default, alias = "dryRun")]
    dry_run: bool,
}

/// The result of a patch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PatchResult {
    /// Whether the folder was changed; false after a dry run.
    applied: bool,
    dry_run: bool,
    /// Whether the patch applies.
    applies: bool,
    /// The files that the patch changes, or would change.
    files: Vec<FileChange>,
    /// The reasons that it does not apply. Nothing is changed then.
    conflicts: Vec<PatchConflict>,
    /// The changed files, a line for each.
    stdout: String,
    /// Conflicts, and hunks that apply at other lines than stated; a line for each.
    stderr: String,
}

/// A file that a patch changes.
#[derive(Debug, Serialize, JsonSchema)]
struct FileChange {
    path: String,
    #[schemars(extend("enum" = ["added", "modified", "deleted", "renamed"]))]
    status: &'static str,
    /// The earlier path, if it is renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

/// A hunk that does not apply.
#[derive(Debug, Serialize, JsonSchema)]
struct PatchConflict {
    path: Option<String>,
    /// The line at which it was expected.
    line: Option<u32>,
    reason: String,
}

/// Applies a patch.
///
/// # Errors
/// `InvalidRequest` names the field; `Overloaded` if too many commands and patches run, or hold too
/// much memory; `TooLarge` and `TimedOut` beyond the limits of a patch. A patch that does not apply
/// is a result.
pub(crate) async fn apply(app: &App, request: PatchRequest) -> Result<PatchResult, Error> {
    let config = app.config();
    let _permit = app.command_permit()?;
    let root = &config.workspace_root;
    let repo_path = request.repo_path.as_str();
    let folder = app.conversations().workspaces().existing(repo_path, "repo_path").await?;
    let patch = Patch::parse(request.patch.into_string())?;
    let report = patch.apply(root, &folder, request.dry_run).await?;
    let applies = report.conflicts.is_empty();
    Ok(PatchResult {
        applied: applies && !request.dry_run,
        dry_run: request.dry_run,
        applies,
        files: report.changes.into_iter().map(FileChange::from).collect(),
        conflicts: report.conflicts.into_iter().map(PatchConflict::from).collect(),
        stdout: report.stdout,
        stderr: report.stderr,
    })
}

impl From<patch::Change> for FileChange {
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

impl From<patch::Conflict> for PatchConflict {
    fn from(conflict: patch::Conflict) -> Self {
        Self { path: conflict.path, line: conflict.line, reason: conflict.reason }
    }
}
