//! One-off commands, started like app-server's `command/exec`: core wraps the command for its
//! sandbox, and the gateway owns the pipes. Core's `process_exec_tool_call` would also run a
//! command, but it stops reporting output after 10,000 pieces, and discards all of it if a child
//! holds a pipe open.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;

use codex_core::exec::ExecExpiration;
use codex_core::exec::build_exec_request;
use codex_utils_absolute_path::AbsolutePathBuf;

use super::permissions::Permissions;
use crate::Command;
use crate::EngineError;
use crate::process::Process;
use crate::sandbox;

/// Restores the command's environment from numbered variables and becomes the command.
///
/// The sandbox's helper runs outside the sandbox with the variables that it is started with: a
/// client's `PATH` would choose its bubblewrap, an `LD_PRELOAD` would run code in it. Therefore the
/// client's variables pass through it under names without a meaning to it, up to this script, which
/// runs inside. On the helper's command line every user could see them.
const RESTORE_ENV: &str = r#"CODEX_GATEWAY_LEFT=$1; shift
while [ "$CODEX_GATEWAY_LEFT" -gt 0 ]; do
eval "export \"\$CODEX_GATEWAY_ENV_$CODEX_GATEWAY_LEFT\"; unset CODEX_GATEWAY_ENV_$CODEX_GATEWAY_LEFT"
CODEX_GATEWAY_LEFT=$((CODEX_GATEWAY_LEFT - 1))
done
unset CODEX_GATEWAY_LEFT
exec "$@""#;

pub(super) async fn start(
    command: Command,
    permissions: Permissions,
    linux_sandbox_exe: &Option<PathBuf>,
) -> Result<Process, EngineError> {
    let failed = |error: String| EngineError::Failed(format!("the command did not start: {error}"));
    let cwd = AbsolutePathBuf::from_absolute_path(&command.cwd)
        .map_err(|error| EngineError::Rejected(format!("cwd: {error}")))?;
    let profile = permissions.command_profile(command.sandbox);
    let mark = format!("codex-gateway-{}", uuid::Uuid::new_v4());
    // Without core's time limit: the gateway reads the pipes and ends the command.
    let params = sandbox::exec_params(
        wrapped_argv(&mark, command.argv, command.env.len()),
        &cwd,
        numbered_env(command.env),
        ExecExpiration::DefaultTimeout,
    );
    let roots = [cwd.clone()];
    let request = build_exec_request(params, &profile, &cwd, &roots, linux_sandbox_exe, false)
        .map_err(|error| failed(error.to_string()))?;
    let (program, args) = request
        .command
        .split_first()
        .ok_or_else(|| failed("the sandbox has no command line".to_owned()))?;
    let spawned = codex_utils_pty::spawn_pipe_process_no_stdin(
        program,
        args,
        cwd.as_path(),
        &request.env,
        &request.arg0,
        &[],
    )
    .await
    .map_err(|error| failed(error.to_string()))?;
    Ok(Process::new(spawned, mark, Box::new(permissions)))
}

/// The command line of [`RESTORE_ENV`]. The mark is its `$0`, and so stands on the command line of
/// every process that starts the sandbox.
fn wrapped_argv(mark: &str, argv: Vec<String>, variables: usize) -> Vec<String> {
    let script = ["/bin/sh", "-c", RESTORE_ENV, mark].map(str::to_owned);
    script.into_iter().chain([variables.to_string()]).chain(argv).collect()
}

/// The helper's environment: the gateway's `PATH`, where bubblewrap is, and the numbered variables.
fn numbered_env(env: BTreeMap<String, String>) -> HashMap<String, String> {
    let path = std::env::var("PATH").ok().map(|path| ("PATH".to_owned(), path));
    let numbered = env.into_iter().zip(1..).map(|((name, value), number)| {
        (format!("CODEX_GATEWAY_ENV_{number}"), format!("{name}={value}"))
    });
    numbered.chain(path).collect()
}
