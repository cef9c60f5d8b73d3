//! Choices for a new conversation or a one-off command.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::TraceContext;
use crate::mcp::McpServer;

/// Choices for a new conversation; `None` means the configured default.
#[derive(Debug, Clone, Default)]
pub struct ThreadSpec {
    /// The working folder. It exists.
    pub cwd: PathBuf,
    /// Model slug.
    pub model: Option<String>,
    /// Provider id, a key of `model_providers`.
    pub model_provider: Option<String>,
    /// Access of commands.
    pub sandbox: Option<Sandbox>,
    /// When core asks before it acts.
    pub approval_policy: Option<Approval>,
    /// Tool servers beside those of the configuration.
    pub mcp_servers: Vec<McpServer>,
    /// Parent of the spans of the start.
    pub trace: Option<TraceContext>,
}

/// A one-off command.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program's path, and its arguments.
    pub argv: Vec<String>,
    /// The working folder. It exists.
    pub cwd: PathBuf,
    /// The complete environment. Names are valid shell variable names.
    pub env: BTreeMap<String, String>,
    /// Access of the command.
    pub sandbox: Sandbox,
    /// Dropped once the last process of the command has gone.
    pub until_gone: Option<Arc<dyn Any + Send + Sync>>,
}

/// Access of the agent's commands (core's `sandbox_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Read the machine's files but no other workspace, write nothing, no network.
    ReadOnly,
    /// As above, and write the conversation's folder and its own temporary folder.
    WorkspaceWrite,
    /// No sandbox.
    DangerFullAccess,
}

/// When the agent asks for approval (core's `approval_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Never: an action that the sandbox refuses fails.
    Never,
    /// When the model asks to leave the sandbox.
    OnRequest,
    /// For every command that is not known to be read-only.
    Untrusted,
}
