//! Options of the engine.

use std::path::PathBuf;

use toml::Value as TomlValue;

use super::models::Wire;
use crate::arg0::HelperPaths;
use crate::children::CommandLimits;

/// Options of [`super::CodexEngine::open`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Codex's home: configuration, histories, state.
    pub codex_home: PathBuf,
    /// The user's `config.toml`, if it is not the one in `codex_home`.
    pub config_path: Option<PathBuf>,
    /// The folder under which conversations work. It exists.
    pub workspace_root: PathBuf,
    /// Dotted configuration keys that override the file.
    pub overrides: Vec<(String, TomlValue)>,
    /// Whether the demo model is the provider: core gets its entry of the model catalogue.
    pub demo_model: bool,
    /// Providers that core reaches through the gateway's bridge.
    pub bridge: Option<Bridge>,
    /// Whether to run commands without a sandbox if none works (`CODEX_UNSAFE_ALLOW_NO_SANDBOX`).
    pub allow_no_sandbox: bool,
    /// Files with secrets, which commands must not read.
    pub secret_files: Vec<PathBuf>,
    /// Limits of commands.
    pub limits: CommandLimits,
    /// Core's helpers.
    pub helpers: HelperPaths,
}

/// The bridge, at which core finds providers instead of at their own addresses.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// Core opens `{base_url}/{id}/v1/responses`.
    pub base_url: String,
    /// The token that the bridge requires.
    pub bearer_token: String,
    /// The providers.
    pub providers: Vec<BridgedProvider>,
    /// The id of the default provider.
    pub default: Option<String>,
}

/// A provider that core reaches through the bridge. It need not be in core's file.
#[derive(Debug, Clone)]
pub struct BridgedProvider {
    /// Key in `model_providers`.
    pub id: String,
    /// Display name.
    pub name: String,
    /// How often core retries after a cut stream.
    pub stream_max_retries: Option<u64>,
    /// Environment variables that hold its keys; the agent's commands do not inherit them.
    pub secrets: Vec<String>,
    /// The bridge's protocol towards it; `None` if core knows all of its models.
    pub wire: Option<Wire>,
}
