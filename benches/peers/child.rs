//! Processes that the bench starts: with an environment of their own, ended when they are dropped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use codex_gateway::shutdown::Shutdown;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

/// Longer than any of them takes to start, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program with the environment that every system gets: nothing of the person's who runs the bench
/// (shell profiles, keys, telemetry) but the path to programs, and an empty home folder.
pub(crate) fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(environment())
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// What is left of the environment.
pub(crate) fn environment() -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    [("PATH", path.as_str()), ("LANG", "C.UTF-8"), ("SHELL", "/bin/bash"), ("TERM", "dumb")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// Ends it and waits for it.
pub(crate) async fn end(mut child: Child) {
    drop(child.kill().await);
}

/// Reads up to the line that has `mark` in it and returns what follows the mark; goes on reading, so
/// that the pipe never fills.
///
/// # Errors
/// The stream ends without it, or a minute passes.
pub(crate) async fn announced(
    stream: impl AsyncRead + Unpin + Send + 'static,
    mark: &'static str,
    tasks: &Shutdown,
) -> anyhow::Result<String> {
    let mut lines = BufReader::new(stream).lines();
    let mut said = Vec::new();
    let wanted = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once(mark) {
                return Ok(rest.to_owned());
            }
            said.push(line);
        }
        anyhow::bail!("it ended without saying {mark:?}")
    };
    let rest = match tokio::time::timeout(PATIENCE, wanted).await {
        Ok(found) => found,
        Err(late) => Err(late.into()),
    };
    let rest = rest.with_context(|| format!("it said:\n{}", said.join("\n")))?;
    tasks.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(rest)
}
