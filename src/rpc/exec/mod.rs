//! `exec`: a one-off command in codex's sandbox.
//!
//! The command is the call's: it is killed, with its process group, when its time is up, when the
//! client leaves and when the process drains. What it prints is kept up to a bound for the result;
//! over a socket all of it also comes as `exec.output` notifications, and a client that reads them
//! slowly slows the command down.

mod output;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use codex_gateway_engine::Command;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::sandbox::Mechanism;
use codex_gateway_engine::sandbox::Tools;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use self::output::Output;
use super::call_context::CallContext;
use crate::api::prompt::allow_sandbox;
use crate::api::prompt::time_limit;
use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

/// A command's time limit unless the call names one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_RANGE_MS: std::ops::RangeInclusive<u64> = 1..=3_600_000;
/// How much of each of stdout and stderr is kept unless the call says otherwise.
const DEFAULT_OUTPUT_BYTES: usize = 1 << 20;
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// The longest string that Linux hands to a program.
const MAX_STRING_BYTES: usize = 128 * 1024 - 64;
/// What the command finds beside what the call gives it. Its home is its folder.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LANG: &str = "C.UTF-8";
/// What `timeout` of the coreutils says, and codex.
const TIMED_OUT_EXIT_CODE: i32 = 124;
/// How long what a killed command has printed is still read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A command.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Exec {
    /// The program: its path, or its name on `PATH`. With `shell`, a line for `/bin/sh -c`.
    command: String,
    /// Its arguments; with `shell`, the line's `$1`, `$2`, ….
    #[serde(default)]
    args: Vec<String>,
    /// Whether a shell runs `command` as one line.
    #[serde(default)]
    shell: bool,
    /// Environment variables. Beside them there are only PATH, HOME (its folder) and LANG.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The folder to work in, inside the workspace root. Without it, a new one, which is kept where
    /// the command leaves something in it.
    cwd: Option<String>,
    /// 1 to 3600000; 30000 by default.
    timeout_ms: Option<u64>,
    /// `workspace-write` by default.
    sandbox: Option<Sandbox>,
    /// How much is kept of each of stdout and stderr: at most 16 MiB, 1 MiB by default.
    max_output_bytes: Option<usize>,
}

/// What came of a command.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Executed {
    /// What is not UTF-8 is replaced by U+FFFD.
    stdout: String,
    stderr: String,
    /// 128 and more where a signal ended it, 124 where its time was up.
    exit_code: i32,
    timed_out: bool,
    duration_ms: u64,
    /// Whether more was printed than is here.
    stdout_truncated: bool,
    stderr_truncated: bool,
    /// The folder that it worked in.
    cwd: String,
    /// What confined it.
    #[schemars(with = "String")]
    sandbox: Mechanism,
}

/// How a command came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Notice,
    TimedOut,
    Drained,
}

pub(super) async fn exec(call: &CallContext, params: Exec) -> Result<Executed, Error> {
    let app = call.app();
    let timeout = params.check(app)?;
    let _place = app.command_permit()?;
    let visit = app.conversations().visit(params.cwd.as_deref()).await?;
    let sandbox = params.sandbox.unwrap_or(Sandbox::WorkspaceWrite);
    let kept = params.max_output_bytes.unwrap_or(DEFAULT_OUTPUT_BYTES);
    let command = params.command(visit.folder(), sandbox)?;

    let started = Instant::now();
    let mut process = app.conversations().engine().exec(command).await?;
    let mut output = Output::new(kept, call);
    let end = tokio::select! {
        () = output.collect(&mut process) => End::Notice,
        () = tokio::time::sleep(timeout) => End::TimedOut,
        () = app.shutdown().drain.cancelled() => End::Drained,
    };
    // It may have ended by itself while what it printed was still on its way.
    let end = if process.exit_code().is_some() { End::Notice } else { end };
    if end != End::Notice {
        process.kill().await;
        let _ = tokio::time::timeout(LAST_WORDS, output.collect(&mut process)).await;
    }
    let (stdout, stderr) = output.into_texts();
    let executed = Executed {
        stdout: stdout.text,
        stderr: stderr.text,
        exit_code: match end {
            End::Notice | End::Drained => process.exit_code().unwrap_or(-1),
            End::TimedOut => TIMED_OUT_EXIT_CODE,
        },
        timed_out: end == End::TimedOut,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        stdout_truncated: stdout.truncated,
        stderr_truncated: stderr.truncated,
        cwd: visit.folder().display().to_string(),
        sandbox: match sandbox {
            Sandbox::DangerFullAccess => Mechanism::None,
            Sandbox::ReadOnly | Sandbox::WorkspaceWrite => app.facts().sandbox.mechanism,
        },
    };
    if end == End::Drained {
        let partial = serde_json::to_value(executed).unwrap_or_default();
        return Err(Error::new(
            Kind::Engine,
            "the command was killed: the gateway is shutting down",
        )
        .with("partial", partial));
    }
    Ok(executed)
}

impl Exec {
    /// Checks every param but `cwd`; the time limit.
    fn check(&self, app: &App) -> Result<Duration, Error> {
        if self.command.trim().is_empty() {
            return Err(Error::invalid("command: expected a string that is not empty"));
        }
        let strings = std::iter::once(("command", &self.command))
            .chain(self.args.iter().map(|arg| ("args", arg)))
            .chain(self.env.values().map(|value| ("env", value)));
        for (field, string) in strings {
            if string.len() > MAX_STRING_BYTES {
                let limit = format!("{field}: expected at most {MAX_STRING_BYTES} bytes a string");
                return Err(Error::new(Kind::TooLarge, limit));
            }
            if string.contains('\0') {
                return Err(Error::invalid(format!("{field}: expected strings without NUL")));
            }
        }
        if let Some(name) = self.env.keys().find(|name| !is_variable(name)) {
            return Err(Error::invalid(format!(
                "env: expected names of letters, digits and _ that do not begin with a digit or \
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
        let sandbox = &app.facts().sandbox;
        match sandbox.tools {
            Tools::On | Tools::Unsandboxed => Ok(timeout.unwrap_or(DEFAULT_TIMEOUT)),
            Tools::Off => Err(Error::new(
                Kind::Forbidden,
                format!(
                    "no command runs, because no sandbox works here: {}",
                    sandbox.fix.unwrap_or(sandbox.detail.as_str())
                ),
            )),
        }
    }

    fn command(self, cwd: &Path, sandbox: Sandbox) -> Result<Command, Error> {
        let home = cwd.display().to_string();
        let mut env: BTreeMap<String, String> =
            [("PATH", PATH), ("HOME", home.as_str()), ("LANG", LANG)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        env.extend(self.env);
        let argv: Vec<String> = if self.shell {
            ["/bin/sh", "-c", self.command.as_str(), "sh"].map(str::to_owned).into_iter().collect()
        } else {
            let path = env.get("PATH").map_or("", String::as_str);
            let program = find(&self.command, path, cwd).ok_or_else(|| {
                Error::invalid(format!(
                    "command: expected a program that is there (PATH is {path}), got {}; a line for a \
                     shell needs \"shell\": true",
                    excerpt(&self.command)
                ))
            })?;
            vec![program]
        };
        let argv = argv.into_iter().chain(self.args).collect();
        Ok(Command { argv, cwd: cwd.to_owned(), env, sandbox })
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with("CODEX_GATEWAY_")
}

/// The program that a name means: a path from the folder, or the first of its name on `PATH`.
fn find(program: &str, path: &str, cwd: &Path) -> Option<String> {
    let is_program = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let mut candidates: Vec<PathBuf> = if program.contains('/') {
        vec![cwd.join(program)]
    } else {
        std::env::split_paths(path).map(|folder| cwd.join(folder).join(program)).collect()
    };
    candidates.retain(is_program);
    candidates.first().map(|found| found.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_would_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("bin/tool");
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(&script, "").unwrap();
        let found = |program| find(program, "bin:/usr/bin:/bin", dir.path());
        assert_eq!(found("tool"), None, "it cannot be executed");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(found("tool"), Some(script.display().to_string()));
        assert_eq!(found("bin/tool"), found("tool"));
        assert_eq!(found("./tool"), None);
        assert_eq!(found("bin"), None);
        assert!(found("sh").unwrap().ends_with("/sh"));
        assert_eq!(found("echo hi"), None);
    }

    #[test]
    fn a_variables_name_is_one_that_a_shell_can_export() {
        for (name, expected) in [
            ("A", true),
            ("_a1", true),
            ("LD_PRELOAD", true),
            ("", false),
            ("1A", false),
            ("A B", false),
            ("A=B", false),
            ("Ä", false),
            ("CODEX_GATEWAY_ENV_1", false),
        ] {
            assert_eq!(is_variable(name), expected, "{name}");
        }
    }
}
