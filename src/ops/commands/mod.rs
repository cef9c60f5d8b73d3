//! One-off commands in the sandbox (`exec`).
//!
//! A command belongs to its call: it is killed, with its process group, at its time limit, when the
//! client leaves and when the process drains. The result holds its output up to a limit. A sink gets
//! all of it as it is printed, and a slow sink slows the command down.

mod output;
mod program;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Sandbox;
use codex_gateway_engine::sandbox::Mechanism;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use self::output::Output;
pub(crate) use self::output::OutputChunk;
pub(crate) use self::output::OutputSink;
use self::program::Program;
use super::policy::allow_sandbox;
use super::prompt::time_limit;
use super::sandbox::require_sandbox;
use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_RANGE_MS: std::ops::RangeInclusive<u64> = 1..=3_600_000;
/// The bytes of each of stdout and stderr in the result.
const DEFAULT_OUTPUT_BYTES: usize = 1 << 20;
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// The longest string that Linux passes to a program.
const MAX_STRING_BYTES: usize = 128 * 1024 - 64;
/// The exit code of a command at its time limit, as of `timeout` (coreutils) and codex.
const TIMED_OUT_EXIT_CODE: i32 = 124;
/// The time that the last output of a killed command has to arrive.
const REMAINING_OUTPUT_WAIT: Duration = Duration::from_secs(2);

/// A command to run.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CommandRequest {
    /// The program: its path, or its name on `PATH`. With `shell`, a line for `/bin/sh -c`.
    command: String,
    /// The arguments; with `shell`, the line's `$1`, `$2`, ….
    #[serde(default)]
    args: Vec<String>,
    /// Whether a shell runs `command` as one line.
    #[serde(default)]
    shell: bool,
    /// Environment variables, in addition to PATH, HOME (the folder) and LANG.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The folder to work in, inside the workspace root. Default: a new one, which is kept if the
    /// command leaves files in it.
    cwd: Option<String>,
    /// The time limit: 1 to 3600000, 30000 by default.
    timeout_ms: Option<u64>,
    /// `workspace-write` by default.
    sandbox: Option<Sandbox>,
    /// The bytes of each of stdout and stderr in the result: at most 16 MiB, 1 MiB by default.
    max_output_bytes: Option<usize>,
}

/// The result of a command.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CommandResult {
    /// Invalid UTF-8 is replaced with U+FFFD.
    stdout: String,
    stderr: String,
    /// 128 plus the number of the signal that ended the command; 124 at the time limit.
    exit_code: i32,
    timed_out: bool,
    duration_ms: u64,
    /// Whether more was printed.
    stdout_truncated: bool,
    stderr_truncated: bool,
    /// The folder that the command worked in.
    cwd: String,
    /// The sandbox mechanism.
    sandbox: Mechanism,
}

/// The end of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Exited,
    TimedOut,
    Drained,
}

/// Runs a command to its end.
///
/// # Errors
/// `InvalidRequest` and `TooLarge` name the field; `Forbidden` for a sandbox that is not permitted
/// or does not work; `Overloaded` if too many commands run; `Engine`, with the result so far in
/// `partial`, if the process drains.
pub(crate) async fn run(
    app: &App,
    request: CommandRequest,
    sink: Option<impl OutputSink>,
) -> Result<CommandResult, Error> {
    let timeout = request.validate(app)?;
    let _permit = app.command_permit()?;
    let leased = app.conversations().workspaces().lease(request.cwd.as_deref()).await?;
    let leased = Arc::new(leased);
    let sandbox = request.sandbox.unwrap_or(Sandbox::WorkspaceWrite);
    let output_limit = request.max_output_bytes.unwrap_or(DEFAULT_OUTPUT_BYTES);
    let CommandRequest { command, args, shell, env, .. } = request;
    let program = Program { command, args, shell, env };
    let mut command = program::command(program, leased.folder(), sandbox)?;
    if leased.is_temporary() {
        command.until_gone = Some(leased.clone());
    }

    let started = Instant::now();
    let mut process = app.engine().exec(command).await?;
    let mut output = Output::new(output_limit, sink);
    let end = tokio::select! {
        () = output.collect(&mut process) => End::Exited,
        () = tokio::time::sleep(timeout) => End::TimedOut,
        () = app.shutdown().drain.cancelled() => End::Drained,
    };
    // The command may have exited while its output was still being read.
    let end = if process.exit_code().is_some() { End::Exited } else { end };
    if end != End::Exited {
        process.kill().await;
        let _ = tokio::time::timeout(REMAINING_OUTPUT_WAIT, output.collect(&mut process)).await;
    }
    let (stdout, stderr) = output.into_texts();
    let result = CommandResult {
        stdout: stdout.text,
        stderr: stderr.text,
        exit_code: match end {
            End::Exited | End::Drained => process.exit_code().unwrap_or(-1),
            End::TimedOut => TIMED_OUT_EXIT_CODE,
        },
        timed_out: end == End::TimedOut,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        stdout_truncated: stdout.truncated,
        stderr_truncated: stderr.truncated,
        cwd: leased.folder().display().to_string(),
        sandbox: match sandbox {
            Sandbox::DangerFullAccess => Mechanism::None,
            Sandbox::ReadOnly | Sandbox::WorkspaceWrite => app.facts().sandbox.mechanism,
        },
    };
    if end == End::Drained {
        let partial = serde_json::to_value(result).unwrap_or_default();
        let message = "the command was killed: the gateway is shutting down";
        return Err(Error::new(Kind::Engine, message).with("partial", partial));
    }
    Ok(result)
}

impl CommandRequest {
    /// Validates every field but `cwd`. Returns the time limit.
    fn validate(&self, app: &App) -> Result<Duration, Error> {
        if self.command.trim().is_empty() {
            return Err(Error::invalid("command: expected a string that is not empty"));
        }
        let strings = std::iter::once(("command", &self.command))
            .chain(self.args.iter().map(|arg| ("args", arg)))
            .chain(self.env.values().map(|value| ("env", value)));
        for (field, string) in strings {
            if string.len() > MAX_STRING_BYTES {
                let limit =
                    format!("{field}: expected at most {MAX_STRING_BYTES} bytes per string");
                return Err(Error::new(Kind::TooLarge, limit));
            }
            if string.contains('\0') {
                return Err(Error::invalid(format!("{field}: expected strings without NUL")));
            }
        }
        if let Some(name) = self.env.keys().find(|name| !program::is_variable(name)) {
            return Err(Error::invalid(format!(
                "env: expected names of letters, digits and _ that begin with neither a digit nor \
                 CODEX_GATEWAY_, got {}",
                excerpt(name)
            )));
        }
        let timeout = time_limit(self.timeout_ms, &TIMEOUT_RANGE_MS)?;
        if self.max_output_bytes.is_some_and(|bytes| bytes > MAX_OUTPUT_BYTES) {
            return Err(Error::invalid(format!(
                "max_output_bytes: expected at most {MAX_OUTPUT_BYTES}"
            )));
        }
        allow_sandbox(app.config(), self.sandbox)?;
        require_sandbox(app, "commands")?;
        Ok(timeout.unwrap_or(DEFAULT_TIMEOUT))
    }
}
