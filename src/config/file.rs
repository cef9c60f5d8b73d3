//! The file as written, and helpers that read its values.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde::Serialize;

use super::commands::Commands;
use crate::proxy::upstream;
use crate::range;
use crate::telemetry::logs::Format;

/// An environment: the value of a variable by its name.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The `[gateway]` table as written. `config.toml.example` documents each key.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub(super) host: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) api_keys: Option<Vec<String>>,
    pub(super) workspace_root: Option<PathBuf>,
    pub(super) default_timeout_ms: Option<u64>,
    pub(super) max_connections: Option<usize>,
    pub(super) max_connections_per_key: Option<usize>,
    pub(super) max_connections_per_address: Option<usize>,
    pub(super) max_streams_per_connection: Option<usize>,
    pub(super) max_unread_bytes: Option<usize>,
    pub(super) max_running_turns: Option<usize>,
    pub(super) max_batch_starts: Option<usize>,
    pub(super) max_queued_prompts: Option<usize>,
    pub(super) max_live_conversations: Option<usize>,
    pub(super) conversation_idle_ms: Option<u64>,
    pub(super) conversations_ahead: Option<usize>,
    pub(super) body_limit_bytes: Option<usize>,
    pub(super) prompt_limit_chars: Option<usize>,
    pub(super) header_timeout_ms: Option<u64>,
    pub(super) keep_alive_timeout_ms: Option<u64>,
    pub(super) body_timeout_ms: Option<u64>,
    pub(super) drain_timeout_ms: Option<u64>,
    pub(super) drain_delay_ms: Option<u64>,
    pub(super) event_log_bytes: Option<usize>,
    pub(super) max_event_log_bytes: Option<usize>,
    pub(super) heartbeat_ms: Option<u64>,
    pub(super) allow_danger_full_access: Option<bool>,
    pub(super) max_terminals: Option<usize>,
    pub(super) terminal_idle_ms: Option<u64>,
    pub(super) terminal_lifetime_ms: Option<u64>,
    pub(super) proxy: Option<BTreeMap<String, upstream::UpstreamConfig>>,
    pub(super) allow_approvals: Option<bool>,
    pub(super) allow_approvals_outside_workspace: Option<bool>,
    pub(super) allow_raw_events: Option<bool>,
    pub(super) allow_mcp_stdio: Option<bool>,
    pub(super) allow_mcp_private: Option<bool>,
    pub(super) mcp_token_variables: Option<Vec<String>>,
    pub(super) telemetry: Option<Telemetry>,
    pub(super) commands: Option<Commands>,
    /// Parsed by [`super::providers`].
    #[serde(default)]
    pub(super) providers: toml::Table,
    /// Parsed by [`super::models`].
    #[serde(default)]
    pub(super) models: toml::Table,
}

/// The `[gateway.telemetry]` table as written.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Telemetry {
    pub(super) capture_content: Option<bool>,
    pub(super) metrics_open: Option<bool>,
    pub(super) log_format: Option<Format>,
    pub(super) forward_baggage: Option<bool>,
}

/// Reads the file. A missing file counts as empty unless the operator `named` it.
pub(super) fn read(path: &Path, named: bool) -> anyhow::Result<toml::Table> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => {
            return Ok(toml::Table::new());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    text.parse().with_context(|| format!("{}: expected TOML", path.display()))
}

/// Parses the `[gateway]` table; `path` is for errors.
pub(super) fn gateway_table(document: &toml::Table, path: &Path) -> anyhow::Result<File> {
    match document.get("gateway") {
        Some(table) => {
            table.clone().try_into().with_context(|| format!("[gateway] in {}", path.display()))
        }
        None => Ok(File::default()),
    }
}

/// Parses a variable; `expected` is for errors.
pub(super) fn env_parse<T: std::str::FromStr>(
    env: Env<'_>,
    name: &str,
    expected: &str,
) -> anyhow::Result<Option<T>> {
    env(name)
        .map(|value| {
            value
                .trim()
                .parse()
                .map_err(|_| anyhow::anyhow!("{name}: expected {expected}, got {value:?}"))
        })
        .transpose()
}

/// Returns the value of `gateway.{key}`, which must be in `range`.
pub(super) fn within(
    key: &str,
    value: Option<usize>,
    range: RangeInclusive<usize>,
    default: usize,
) -> anyhow::Result<usize> {
    range::within(format_args!("gateway.{key}"), value, range, default)
}

/// Returns the duration of `gateway.{key}`.
pub(super) fn millis(key: &str, value: Option<u64>, default: u64) -> anyhow::Result<Duration> {
    range::millis(format_args!("gateway.{key}"), value, default)
}
