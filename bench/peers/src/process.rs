//! Child processes: started with a minimal environment, killed on drop.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use codex_gateway::shutdown::Shutdown;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

/// The time limit of a start, generous for a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Prepares a program with the environment that every system gets: the PATH of the user and an empty
/// home folder, but no shell profiles, keys or telemetry settings.
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

/// The common environment, without HOME.
pub(crate) fn environment() -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    [("PATH", path.as_str()), ("LANG", "C.UTF-8"), ("SHELL", "/bin/bash"), ("TERM", "dumb")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// Kills a process and waits for its end.
pub(crate) async fn end(mut child: Child) {
    drop(child.kill().await);
}

/// Reads up to a line that contains `mark` and returns the text after it. Drains the stream
/// afterwards, so that the pipe never fills.
///
/// # Errors
/// If the stream ends without the mark, or a minute passes.
pub(crate) async fn wait_for_line(
    stream: impl AsyncRead + Unpin + Send + 'static,
    mark: &'static str,
    tasks: &Shutdown,
) -> anyhow::Result<String> {
    let mut lines = BufReader::new(stream).lines();
    let mut output = Vec::new();
    let search = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, text)) = line.split_once(mark) {
                return Ok(text.to_owned());
            }
            output.push(line);
        }
        anyhow::bail!("the process ended without printing {mark:?}")
    };
    let found = match tokio::time::timeout(START_TIMEOUT, search).await {
        Ok(found) => found,
        Err(late) => Err(late.into()),
    };
    let text = found.with_context(|| format!("its output:\n{}", output.join("\n")))?;
    tasks.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(text)
}

/// The ids of the running processes of a system that spawns one per conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningIds(Arc<Mutex<Vec<u32>>>);

impl RunningIds {
    pub(crate) fn add(&self, id: u32) {
        self.lock().push(id);
    }

    pub(crate) fn remove(&self, id: u32) {
        self.lock().retain(|other| *other != id);
    }

    pub(crate) fn list(&self) -> Vec<u32> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
