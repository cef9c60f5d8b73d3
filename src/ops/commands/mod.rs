//! One-off commands in the sandbox (`exec`).
//!
//! A command belongs to its call: it is killed, with its process group, at its time limit, when the
//! client leaves and when the process drains. The result holds its output up to a limit. A sink gets
//! all of it as it is printed, and a slow sink slows the command down.

mod output;
mod program;
mod variable;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Command;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::sandbox::Mechanism;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use self::output::Output;
pub(crate) use self::output::OutputChunk;
pub(crate) use self::output::OutputSink;
use self::variable::VariableName;
use super::policy::allow_sandbox;
use super::sandbox::require_sandbox;
use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::input::argument::Argument;
use crate::input::argument::Program;
use crate::input::path::FolderPath;
use crate::input::whole::Whole;

const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const MAX_TIMEOUT_MS: u64 = 3_600_000;
/// The bytes of each of stdout and stderr in the result.
const DEFAULT_OUTPUT_BYTES: usize = 1 << 20;
const MAX_OUTPUT_BYTES: u64 = 16 << 20;
/// The exit code of a command at its time limit, as of `timeout` (coreutils) and codex.
const TIMED_OUT_EXIT_CODE: i32 = 124;
/// The time that the last output of a killed command has to arrive.
const REMAINING_OUTPUT_WAIT: Duration = Duration::from_secs(2);

/// A command to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandRequest {
    /// The program: its path, or its name on `PATH`. With `shell`, a line for `/bin/sh -c`.
    command: Program,
    /// The arguments; with `shell`, the line's `$1`, `$2`, ….
    #[serde(default)]
    args: Vec<Argument>,
    /// Whether a shell runs `command` as one line.
    #[serde(default)]
    shell: bool,
    /// Environment variables, in addition to PATH, HOME (the folder) and LANG.
    #[serde(default)]
    env: BTreeMap<VariableName, Argument>,
    /// The folder to work in, inside the workspace root. Default: a new one, which is kept if the
    /// command leaves files in it.
    cwd: Option<FolderPath>,
    /// The time limit in milliseconds.
    #[schemars(extend("default" = DEFAULT_TIMEOUT_MS))]
    timeout_ms: Option<Whole<1, MAX_TIMEOUT_MS>>,
    /// `workspace-write` by default.
    #[serde(alias = "sandbox_mode", alias = "sandboxMode")]
    sandbox: Option<Sandbox>,
    /// The bytes of each of stdout and stderr in the result.
    #[schemars(extend("default" = DEFAULT_OUTPUT_BYTES))]
    max_output_bytes: Option<Whole<0, MAX_OUTPUT_BYTES>>,
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
    /// Why the gateway ended the command, if it exceeded a limit (`gateway.commands`).
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_exceeded: Option<String>,
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

impl CommandRequest {
    fn into_program(self) -> program::Program {
        let env = self.env.into_iter();
        program::Program {
            command: self.command.into_string(),
            args: self.args.into_iter().map(Argument::into_string).collect(),
            shell: self.shell,
            env: env.map(|(VariableName(name), value)| (name, value.into_string())).collect(),
        }
    }
}

/// Runs a command to its end.
///
/// # Errors
/// `InvalidRequest` names the field; `Forbidden` for a sandbox that is not permitted
/// or does not work; `Overloaded` if too many commands run; `Engine`, with the result so far in
/// `partial`, if the process drains.
pub(crate) async fn run(
    app: &App,
    request: CommandRequest,
    sink: Option<impl OutputSink>,
) -> Result<CommandResult, Error> {
    allow_sandbox(app.config(), request.sandbox)?;
    require_sandbox(app, "commands")?;
    let timeout = request.timeout_ms.map_or(DEFAULT_TIMEOUT_MS, Whole::get);
    let timeout = Duration::from_millis(timeout);
    let _permit = app.command_permit()?;
    let cwd = request.cwd.as_ref().map(FolderPath::as_str);
    let leased = Arc::new(app.conversations().workspaces().lease(cwd).await?);
    let sandbox = request.sandbox.unwrap_or(Sandbox::WorkspaceWrite);
    let output_limit = request.max_output_bytes.map_or(DEFAULT_OUTPUT_BYTES, Whole::size);
    let mut command = find(request.into_program(), leased.folder().to_owned(), sandbox).await?;
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
        limit_exceeded: process.violation().map(|violation| violation.message),
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

/// Finds the program on disk, away from the workers of the runtime.
async fn find(
    program: program::Program,
    folder: PathBuf,
    sandbox: Sandbox,
) -> Result<Command, Error> {
    tokio::task::spawn_blocking(move || program::command(program, &folder, sandbox))
        .await
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?
}
