//! Applies patches in a private scratch folder.
//!
//! The gateway copies the files that a patch names into a scratch folder, applies the patch there
//! and copies the complete result back, or nothing. A patch that applies in part changes nothing,
//! and no program runs in a folder where the agent may have left a git configuration or a link.
//!
//! Unified diffs go to `git apply`, run here instead of by upstream's `apply_git_patch`. That
//! function requires a repository, reads its configuration (filters and merge drivers are
//! programs), merges with conflict markers, and passes the patch through the temporary folder,
//! which commands in the sandbox can write. Git's messages are parsed by `codex-git-utils`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use codex_apply_patch::AffectedPaths;
use codex_apply_patch::Hunk;
use codex_exec_server::LOCAL_FS;
use codex_utils_absolute_path::AbsolutePathBuf;
use codex_utils_path_uri::PathUri;
use tokio::io::AsyncWriteExt;

use crate::BoxFuture;
use crate::EngineError;

/// Time limit for git.
const GIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of a patch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Conflicts; empty if the patch was applied.
    pub conflicts: Vec<Conflict>,
    /// Standard output of the program that applied it.
    pub stdout: String,
    /// Standard error of the same program.
    pub stderr: String,
}

/// A file to which a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The file, if known.
    pub path: Option<String>,
    /// The line at which the hunk was expected to apply.
    pub line: Option<u32>,
    /// The reason.
    pub reason: String,
}

/// A patch in codex's own format.
#[derive(Debug)]
pub struct CodexPatch(Vec<Hunk>);

impl CodexPatch {
    /// Whether the text is in this format, judged by its first line.
    pub fn is(text: &str) -> bool {
        text.trim_start().lines().next().is_some_and(|line| line.trim_end() == "*** Begin Patch")
    }

    /// Parses the text of a patch.
    ///
    /// # Errors
    /// `Rejected` names the invalid line.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        match codex_apply_patch::parse_patch(text) {
            Ok(args) => Ok(Self(args.hunks)),
            Err(error) => Err(EngineError::Rejected(error.to_string())),
        }
    }

    /// Every path in the patch, with the destination of a move.
    pub fn paths(&self) -> impl Iterator<Item = (&Path, Option<&Path>)> {
        self.0.iter().map(|hunk| match hunk {
            Hunk::AddFile { path, .. } | Hunk::DeleteFile { path } => (path.as_path(), None),
            Hunk::UpdateFile { path, move_path, .. } => (path.as_path(), move_path.as_deref()),
        })
    }

    /// Applies the patch in a scratch folder. After conflicts the folder's content is undefined.
    pub fn apply<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Outcome, EngineError>> {
        Box::pin(async move {
            let failed = |error: std::io::Error| EngineError::Failed(error.to_string());
            let cwd = AbsolutePathBuf::from_absolute_path(folder).map_err(failed)?;
            let cwd = PathUri::from_abs_path(&cwd);
            let mut done =
                AffectedPaths { added: Vec::new(), modified: Vec::new(), deleted: Vec::new() };
            let (mut stdout, mut stderr, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
            // One at a time, because core stops at the first hunk that does not apply.
            for (hunk, (path, _)) in self.0.iter().zip(self.paths()) {
                let mut errors = Vec::new();
                let applied = codex_apply_patch::apply_hunks(
                    std::slice::from_ref(hunk),
                    &cwd,
                    &mut std::io::sink(),
                    &mut errors,
                    LOCAL_FS.as_ref(),
                    None,
                )
                .await;
                match (applied, hunk) {
                    (Ok(_), Hunk::AddFile { path, .. }) => done.added.push(path.clone()),
                    (Ok(_), Hunk::DeleteFile { path }) => done.deleted.push(path.clone()),
                    (Ok(_), Hunk::UpdateFile { .. }) => done.modified.push(hunk.path().to_owned()),
                    (Err(_), _) => {
                        let reason = String::from_utf8_lossy(&errors);
                        // The scratch folder's path is of no use to the client.
                        let reason = reason.replace(&format!("{}/", folder.display()), "");
                        stderr.extend_from_slice(reason.as_bytes());
                        conflicts.push(Conflict {
                            path: Some(path.display().to_string()),
                            line: None,
                            reason: reason.trim_end().to_owned(),
                        });
                    }
                }
            }
            if conflicts.is_empty() {
                codex_apply_patch::print_summary(&done, &mut stdout).map_err(failed)?;
            }
            Ok(Outcome { conflicts, stdout: text(stdout), stderr: text(stderr) })
        })
    }
}

/// Applies a unified diff in a scratch folder, after removing `strip` leading components from its
/// paths. Applies all of it or nothing.
///
/// # Errors
/// `Rejected` if git cannot parse the diff; `Failed` if git is missing or exceeds its time limit.
pub fn apply_unified<'a>(
    folder: &'a Path,
    patch: &'a str,
    strip: u8,
) -> BoxFuture<'a, Result<Outcome, EngineError>> {
    Box::pin(async move {
        let (code, stdout, stderr) = git(folder, patch, strip).await?;
        match code {
            0 => Ok(Outcome { conflicts: Vec::new(), stdout, stderr }),
            1 => Ok(Outcome { conflicts: conflicts(&stdout, &stderr), stdout, stderr }),
            _ => Err(EngineError::Rejected(stderr.trim_end().to_owned())),
        }
    })
}

async fn git(folder: &Path, patch: &str, strip: u8) -> Result<(i32, String, String), EngineError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => EngineError::Failed(
            "git: expected on the gateway's PATH, got none; install git".to_owned(),
        ),
        _ => EngineError::Failed(format!("git did not run: {error}")),
    };
    let mut child = tokio::process::Command::new("git")
        .args(["-c", "core.symlinks=false", "-c", "core.autocrlf=false"])
        .args(["apply", "--verbose", "--whitespace=nowarn", &format!("-p{strip}"), "-"])
        .current_dir(folder)
        // No other configuration, no surrounding repository, messages in English.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder))
        .env("HOME", folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take();
    let write = async {
        if let Some(stdin) = &mut stdin {
            // Git stops reading when it gives up; its own message says why.
            let _ = stdin.write_all(patch.as_bytes()).await;
        }
        drop(stdin);
    };
    let run = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(GIT_TIMEOUT, run)
        .await
        .map_err(|_| {
            EngineError::Failed(format!("git did not finish within {} s", GIT_TIMEOUT.as_secs()))
        })?
        .map_err(failed)?;
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// Conflicts in git's output, by file.
fn conflicts(stdout: &str, stderr: &str) -> Vec<Conflict> {
    let (_, skipped, conflicted) = codex_git_utils::parse_git_apply_output(stdout, stderr);
    let mut found = Vec::new();
    for error in stderr.lines().filter_map(|line| line.strip_prefix("error: ")) {
        if let Some((path, line)) =
            error.strip_prefix("patch failed: ").and_then(|place| place.rsplit_once(':'))
        {
            add(&mut found, Some(path.to_owned()), line.parse().ok(), error);
        } else if error.starts_with("while searching for:") {
            // The hunk's lines follow.
        } else if let Some((path, _)) = error.split_once(": ") {
            add(&mut found, Some(path.to_owned()), None, error);
        } else {
            let known =
                skipped.iter().chain(&conflicted).find(|path| error.contains(path.as_str()));
            add(&mut found, known.cloned(), None, error);
        }
    }
    if found.is_empty() {
        add(&mut found, None, None, stderr.trim_end());
    }
    found
}

/// Adds a conflict. Of several about one file the first is the most specific.
fn add(found: &mut Vec<Conflict>, path: Option<String>, line: Option<u32>, reason: &str) {
    match found.iter_mut().find(|one| path.is_some() && one.path == path) {
        Some(known) => known.line = known.line.or(line),
        None => found.push(Conflict { path, line, reason: reason.to_owned() }),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
