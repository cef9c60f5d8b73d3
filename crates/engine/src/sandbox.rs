//! The sandbox self-test: finds out what confines tool calls by running one.
//!
//! Core's default on Linux is bubblewrap. Where it is missing or forbidden (Docker's default
//! profile, hosted containers), core's helper panics and the model gets a backtrace as the result
//! of its command. Therefore one command runs in core's sandbox at start-up, and the result is
//! reported in `/health`, in the log and in every answer.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;

use codex_core::exec::ExecCapturePolicy;
use codex_core::exec::ExecExpiration;
use codex_core::exec::ExecParams;
use codex_core::exec::process_exec_tool_call;
use codex_protocol::config_types::WindowsSandboxLevel;
use codex_protocol::models::PermissionProfile;
use codex_protocol::models::SandboxPermissions;
use codex_protocol::permissions::NetworkSandboxPolicy;
use codex_utils_absolute_path::AbsolutePathBuf;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::BoxFuture;

/// Time limit of the self-test, in milliseconds.
const LIMIT_MS: u64 = 10_000;

/// The result of the self-test.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The mechanism that confines commands.
    pub mechanism: Mechanism,
    /// Whether the agent may run commands and write files.
    pub tools: Tools,
    /// The observation, in one sentence.
    pub detail: String,
    /// What the operator can do about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
}

/// The mechanism that confines commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// Linux: bubblewrap and seccomp.
    Bubblewrap,
    /// macOS: `sandbox-exec`.
    Seatbelt,
    /// Commands are not confined.
    None,
}

impl Mechanism {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Seatbelt => "seatbelt",
            Self::None => "none",
        }
    }
}

impl Tools {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Unsandboxed => "unsandboxed",
            Self::Off => "off",
        }
    }
}

/// Whether the agent may run commands and write files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tools {
    /// Yes, confined.
    On,
    /// Yes, unconfined: the operator allowed it.
    Unsandboxed,
    /// No.
    Off,
}

const FIX: &str = "install bubblewrap (`apt-get install bubblewrap`); in Docker also run with \
    `--security-opt seccomp=unconfined --security-opt apparmor=unconfined` or `--privileged`; or, \
    where the container itself is the sandbox, set CODEX_UNSAFE_ALLOW_NO_SANDBOX=1";

/// Runs a command in core's sandbox that writes inside its folder and tries to write outside.
pub fn self_test(
    workspace_root: &Path,
    linux_sandbox_exe: Option<PathBuf>,
    allow_no_sandbox: bool,
) -> BoxFuture<'_, Report> {
    Box::pin(async move {
        match test_confinement(workspace_root, linux_sandbox_exe).await {
            Ok(()) => Report {
                mechanism: if cfg!(target_os = "macos") {
                    Mechanism::Seatbelt
                } else {
                    Mechanism::Bubblewrap
                },
                tools: Tools::On,
                detail:
                    "commands write only in their folder and the temporary folder, and have no \
                         network"
                        .to_owned(),
                fix: None,
            },
            Err(reason) if allow_no_sandbox => Report {
                mechanism: Mechanism::None,
                tools: Tools::Unsandboxed,
                detail: format!(
                    "no sandbox works ({reason}); CODEX_UNSAFE_ALLOW_NO_SANDBOX is set, so commands run \
                     with the gateway's own rights"
                ),
                fix: Some(FIX),
            },
            Err(reason) => Report {
                mechanism: Mechanism::None,
                tools: Tools::Off,
                detail: format!(
                    "no sandbox works ({reason}), so the agent gets no tool that runs commands or \
                     writes files"
                ),
                fix: Some(FIX),
            },
        }
    })
}

/// Runs the probe command and checks its effects.
async fn test_confinement(
    workspace_root: &Path,
    linux_sandbox_exe: Option<PathBuf>,
) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let scratch = workspace_root.join(format!(".sandbox-probe-{}", std::process::id()));
    let inside = scratch.join("inside");
    let outside = scratch.join("outside");
    std::fs::create_dir_all(&inside).map_err(text)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let ran = tokio::select! {
        ran = run_probe(&inside, port, linux_sandbox_exe) => ran,
        _ = listener.accept() => Err("a command could reach the network".to_owned()),
    };
    let verdict = ran.and_then(|()| match (inside.join("probe").exists(), outside.exists()) {
        (true, false) => Ok(()),
        (false, _) => Err("a command could not write inside its own folder".to_owned()),
        (true, true) => Err("a command could write outside its folder".to_owned()),
    });
    let _ = std::fs::remove_dir_all(&scratch);
    verdict
}

/// Parameters of a command in core's sandbox, without network.
pub(crate) fn exec_params(
    command: Vec<String>,
    cwd: &AbsolutePathBuf,
    env: HashMap<String, String>,
    expiration: ExecExpiration,
) -> ExecParams {
    ExecParams {
        command,
        cwd: cwd.clone(),
        expiration,
        capture_policy: ExecCapturePolicy::ShellTool,
        env,
        network: None,
        network_environment_id: None,
        sandbox_permissions: SandboxPermissions::UseDefault,
        windows_sandbox_level: WindowsSandboxLevel::Disabled,
        windows_sandbox_private_desktop: false,
        justification: None,
        arg0: None,
    }
}

async fn run_probe(
    cwd: &Path,
    port: u16,
    linux_sandbox_exe: Option<PathBuf>,
) -> Result<(), String> {
    let cwd = AbsolutePathBuf::from_absolute_path(cwd).map_err(|error| error.to_string())?;
    // Temporary folders are not writable here: the workspace may lie in one.
    let profile = PermissionProfile::workspace_write_with(
        std::slice::from_ref(&cwd),
        NetworkSandboxPolicy::Restricted,
        true,
        true,
    );
    let params = exec_params(
        ["/bin/sh".to_owned(), "-c".to_owned(), script(port)].to_vec(),
        &cwd,
        std::env::vars().filter(|(name, _)| name == "PATH").collect(),
        LIMIT_MS.into(),
    );
    let roots = [cwd.clone()];
    let output = Box::pin(process_exec_tool_call(
        params,
        &profile,
        &cwd,
        &roots,
        &linux_sandbox_exe,
        false,
        None,
    ))
    .await
    .map_err(|error| first_line(&error.to_string()))?;
    match output.exit_code {
        0 => Ok(()),
        code => Err(format!("exit code {code}: {}", first_line(&output.aggregated_output.text))),
    }
}

/// A script that writes inside its folder, tries to write outside and to connect to a port of the
/// gateway (with bash, which can open sockets).
fn script(port: u16) -> String {
    format!(
        "echo probe > probe; {{ echo probe > ../outside; }} 2>/dev/null; \
         {{ bash --norc -c 'echo > /dev/tcp/127.0.0.1/{port}'; }} 2>/dev/null; test -e probe"
    )
}

/// The message of a helper's panic: one line of a page of backtrace.
fn first_line(text: &str) -> String {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("thread "))
        .unwrap_or("no output");
    line.chars().take(200).collect()
}
