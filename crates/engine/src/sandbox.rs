//! What confines the agent's commands, as a self-test found it (`codex::self_test`).
//!
//! Core's default on Linux is bubblewrap. Where it is missing or forbidden (Docker's default
//! profile, hosted containers), core's helper panics and the model gets a backtrace as the result
//! of its command. Therefore one command runs in core's sandbox at start-up, and the result is
//! reported in `/health`, in the log and in every answer.

use std::collections::HashMap;

use codex_core::exec::ExecCapturePolicy;
use codex_core::exec::ExecExpiration;
use codex_core::exec::ExecParams;
use codex_protocol::config_types::WindowsSandboxLevel;
use codex_protocol::models::SandboxPermissions;
use codex_utils_absolute_path::AbsolutePathBuf;
use schemars::JsonSchema;
use serde::Serialize;

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

pub(crate) const FIX: &str = "install bubblewrap (`apt-get install bubblewrap`); in Docker also run with \
    `--security-opt seccomp=unconfined --security-opt apparmor=unconfined` or `--privileged`; or, \
    where the container itself is the sandbox, set CODEX_UNSAFE_ALLOW_NO_SANDBOX=1";

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
