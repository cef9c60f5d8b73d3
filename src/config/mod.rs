//! Configuration: [`File`] as written, [`Config`] as resolved.
//!
//! - [`file`]: the `[gateway]` table, and helpers that read its values;
//! - [`commands`]: limits of commands;
//! - [`resolve`]: one resolver per section of the table;
//! - [`secret_files`]: variables from files;
//! - [`model_source`]: which model answers by default;
//! - [`models`]: aliases and fallbacks; [`providers`]: the providers that the bridge calls.
//!
//! One `config.toml` holds Codex's own keys and a `[gateway]` table. The environment overrides the
//! file, the command line overrides both. Every error names the key: `key: expected X, got Y`.

mod commands;
mod file;
mod model_source;
pub mod models;
mod providers;
mod resolve;
mod secret_files;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;

use codex_gateway_engine::children::CommandLimits;

pub use self::file::File;
pub use self::model_source::ModelSource;
use self::models::Models;
use crate::access::Keys;
use crate::access::approvals::ApprovalRules;
use crate::bridge::provider::Provider;
use crate::conversation;
use crate::proxy::upstream::Upstream;
use crate::telemetry;
use crate::terminal::TerminalLimits;
use crate::web;

/// The command-line options that override the configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`.
    pub config_path: Option<PathBuf>,
    /// `--host`.
    pub host: Option<IpAddr>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--workspace-root`.
    pub workspace_root: Option<PathBuf>,
}

/// The resolved and validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The API keys. Without any, the gateway is in development mode.
    pub keys: Keys,
    /// The folder that contains the working directories of conversations.
    pub workspace_root: PathBuf,
    /// Limits of connections and request bodies.
    pub server: web::Limits,
    /// Limits of conversations, turns and their events.
    pub turns: conversation::limits::Limits,
    /// The largest number of calls in a batch of JSON-RPC that start a conversation or a turn.
    pub max_batch_starts: usize,
    /// Limits of terminals.
    pub terminals: TerminalLimits,
    /// The upstreams of reverse calls.
    pub proxies: Vec<Upstream>,
    /// Whether a request may select the sandbox `danger-full-access`.
    pub allow_danger_full_access: bool,
    /// Whether a request may select an approval policy other than `never`, and what an approval may
    /// give the agent.
    pub approvals: ApprovalRules,
    /// Whether a request may ask for `raw_response_*` events, which contain the system prompt.
    pub allow_raw_events: bool,
    /// The tool servers that requests may connect.
    pub mcp: McpRules,
    /// Files that hold values of variables (`NAME_FILE`).
    pub secret_files: Vec<PathBuf>,
    /// Limits of commands.
    pub commands: CommandLimits,
    /// The settings of telemetry.
    pub telemetry: telemetry::Settings,
    /// Codex's home.
    pub codex_home: PathBuf,
    /// The path of the file, which may not exist.
    pub config_path: PathBuf,
    /// Which model answers by default.
    pub model_source: ModelSource,
    /// `CODEX_UNSAFE_ALLOW_NO_SANDBOX`.
    pub allow_no_sandbox: bool,
    /// The providers that the operator configured or gave a key.
    pub providers: Vec<Provider>,
    /// The built-in providers without a key. Sessions may bring one; local providers need none.
    pub keyless: Vec<Provider>,
    /// Aliases and fallbacks.
    pub models: Models,
    /// `model` of the file.
    pub(crate) model: Option<String>,
    /// `model_provider` of the file.
    pub(crate) model_provider: Option<String>,
    /// Features of core to disable, because the file does not set them.
    pub(crate) features_off: Vec<&'static str>,
}

/// The tool servers that requests may connect.
#[derive(Debug, Clone)]
pub struct McpRules {
    /// Whether a tool server may be a local program, which runs outside the sandbox.
    pub allow_stdio: bool,
    /// Whether a tool server may have a private address: loopback, the local network, the cloud's
    /// metadata service.
    pub allow_private: bool,
    /// The environment variables that a request may name as a bearer token.
    pub token_variables: Vec<String>,
}

impl Config {
    /// Returns whether the gateway is in development mode: without API keys, loopback only.
    pub fn is_development(&self) -> bool {
        self.keys.is_empty()
    }
}
