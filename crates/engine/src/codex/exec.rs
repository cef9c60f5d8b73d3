//! One-off commands, started like app-server's `command/exec`: core wraps the command for its
//! sandbox, and the gateway owns the pipes. Core's `process_exec_tool_call` would also run a
//! command, but it stops reporting output after 10,000 pieces, and discards all of it if a child
//! holds a pipe open.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use codex_core::exec::ExecExpiration;
use codex_core::exec::build_exec_request;
use codex_utils_absolute_path::AbsolutePathBuf;

use super::permissions::Permissions;
use crate::Command;
use crate::EngineError;
use crate::children;
use crate::children::Children;
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
unset CODEX_GATEWAY_LEFT CODEX_GATEWAY_COMMAND
exec "$@""#;

pub(super) async fn start(
    command: Command,
    permissions: Permissions,
    linux_sandbox_exe: &Option<PathBuf>,
    children: &Arc<Children>,
) -> Result<Process, EngineError> {
    let failed = |error: String| EngineError::Failed(format!("the command did not start: {error}"));
    let cwd = AbsolutePathBuf::from_absolute_path(&command.cwd)
        .map_err(|error| EngineError::Rejected(format!("cwd: {error}")))?;
    let profile = permissions.command_profile(command.sandbox);
    let started = children.command()?;
    let mut env = numbered_env(command.env);
    let variables = env.len();
    env.extend(std::env::var("PATH").ok().map(|path| ("PATH".to_owned(), path)));
    env.extend([started.variable()]);
    // Without core's time limit: the gateway reads the pipes and ends the command.
    let params = sandbox::exec_params(
        wrapped_argv(command.argv, variables),
        &cwd,
        env,
        ExecExpiration::DefaultTimeout,
    );
    let roots = [cwd.clone()];
    let mut request = build_exec_request(params, &profile, &cwd, &roots, linux_sandbox_exe, false)
        .map_err(|error| failed(error.to_string()))?;
    if let (None, Some(helper)) = (&request.arg0, children.helper()) {
        request.command = children::unconfined(helper, request.command);
    }
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
    Ok(Process::new(spawned, started.holding(permissions)))
}

/// The command line of [`RESTORE_ENV`].
fn wrapped_argv(argv: Vec<String>, variables: usize) -> Vec<String> {
    let script = ["/bin/sh", "-c", RESTORE_ENV, "sh"].map(str::to_owned);
    script.into_iter().chain([variables.to_string()]).chain(argv).collect()
}

/// The numbered variables. Beside them, the helper gets the gateway's `PATH`, where bubblewrap is.
fn numbered_env(env: BTreeMap<String, String>) -> HashMap<String, String> {
    let numbered = env.into_iter().zip(1..).map(|((name, value), number)| {
        (format!("CODEX_GATEWAY_ENV_{number}"), format!("{name}={value}"))
    });
    numbered.collect()
}
