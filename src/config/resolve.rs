//! Resolves the command line, the environment and the file to a [`Config`], section by section.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use codex_gateway_engine::protocol::MAX_USER_INPUT_TEXT_CHARS;
use toml::Table;
use toml::Value;

use super::Config;
use super::McpRules;
use super::Overrides;
use super::file::Env;
use super::file::File;
use super::file::Telemetry;
use super::file::env_parse;
use super::file::gateway_table;
use super::file::millis;
use super::file::read;
use super::file::within;
use super::model_source;
use super::model_source::ModelSource;
use super::models::Models;
use super::providers;
use super::secret_files::SecretFiles;
use crate::access::Keys;
use crate::access::approvals::ApprovalRules;
use crate::conversation;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::proxy::upstream::Upstream;
use crate::range::MAX_BYTES;
use crate::range::MAX_COUNT;
use crate::telemetry;
use crate::terminal::TerminalLimits;
use crate::web;

/// Features of core that are on by default but do not suit a server; see `config.toml.example`.
///
/// - `shell_snapshot`: runs a login shell per conversation, which takes minutes when many start;
/// - `unified_exec`: omits the first 150 ms of a command's output from its events, and may report
///   the command's end after the turn's.
const FEATURES_OFF: [&str; 2] = ["shell_snapshot", "unified_exec"];

impl Config {
    /// Resolves the command line, the environment and the file.
    ///
    /// # Errors
    /// The file cannot be read, a value is invalid, or the address is not loopback although there
    /// is no API key.
    pub fn load(overrides: &Overrides) -> anyhow::Result<Self> {
        let codex_home = codex_gateway_engine::arg0::codex_home()
            .context("CODEX_HOME: expected a folder; set it, or HOME")?;
        Self::resolve(overrides, &|name| std::env::var(name).ok(), codex_home)
    }

    /// Resolves with a given environment, in which blank variables count as unset, and files give
    /// the values of others.
    pub(crate) fn resolve(
        overrides: &Overrides,
        env: Env<'_>,
        codex_home: PathBuf,
    ) -> anyhow::Result<Self> {
        let files = SecretFiles::new(env);
        let resolved = Self::resolve_with(overrides, &|name| files.get(name), codex_home);
        // First: without the value, what follows fails for a reason that does not help.
        let secret_files = files.finish()?;
        Ok(Self { secret_files, ..resolved? })
    }

    // Long: one field of `Config` after another; the sections are functions of their own.
    fn resolve_with(
        overrides: &Overrides,
        env: Env<'_>,
        codex_home: PathBuf,
    ) -> anyhow::Result<Self> {
        let named =
            overrides.config_path.clone().or_else(|| env("CODEX_CONFIG_PATH").map(PathBuf::from));
        let config_path = named.clone().unwrap_or_else(|| codex_home.join("config.toml"));
        let folder = config_path.parent().unwrap_or(Path::new(""));
        let document = read(&config_path, named.is_some())?;
        let file = gateway_table(&document, &config_path)?;

        let keys = keys(&file, env)?;
        let (host, port) = address(&file, overrides, env)?;
        anyhow::ensure!(
            host.is_loopback() || !keys.is_empty(),
            "refusing to listen on {host} without an API key: anyone who reaches the port could run \
             commands on this machine; set GATEWAY_API_KEY (or gateway.api_keys in {}), or listen on \
             127.0.0.1",
            config_path.display()
        );
        let providers = providers::resolve(&document, &file.providers, env, folder)?;
        let called_by_codex = model_source::called_by_codex(&document, env, &codex_home);
        let keyless = providers::keyless(&document, &providers, env, called_by_codex)?;
        let ids: Vec<&str> =
            providers.iter().chain(&keyless).map(|provider| provider.id.as_str()).collect();
        let models = Models::resolve(&file.models, &ids)?;
        let (model, model_provider) = (text(&document, "model"), text(&document, "model_provider"));
        let model_source = if is_alias(&models, model.as_deref(), model_provider.as_deref())? {
            ModelSource::Codex
        } else {
            model_source::choose(&document, env, &codex_home)
        };
        Ok(Self {
            host,
            port,
            workspace_root: workspace_root(&file, overrides, folder, &codex_home),
            server: server_limits(&file, keys.names().count(), env)?,
            turns: turn_limits(&file, &document, env)?,
            max_batch_starts: within("max_batch_starts", file.max_batch_starts, 1..=100, 16)?,
            terminals: terminal_limits(&file)?,
            proxies: upstreams(&file, env)?,
            allow_danger_full_access: file.allow_danger_full_access.unwrap_or(false),
            approvals: approval_rules(&file, keys.is_empty()),
            allow_raw_events: file.allow_raw_events.unwrap_or(false),
            mcp: mcp_rules(&file, keys.is_empty()),
            secret_files: Vec::new(),
            commands: file.commands.clone().unwrap_or_default().resolve()?,
            telemetry: telemetry_settings(file.telemetry.unwrap_or_default()),
            allow_no_sandbox: env("CODEX_UNSAFE_ALLOW_NO_SANDBOX")
                .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
            keys,
            model_source,
            providers,
            keyless,
            models,
            model,
            model_provider,
            features_off: features_off(&document),
            codex_home,
            config_path,
        })
    }
}

fn keys(file: &File, env: Env<'_>) -> anyhow::Result<Keys> {
    match env("GATEWAY_API_KEY") {
        Some(list) => Keys::parse(list.split(',')).context("GATEWAY_API_KEY"),
        None => {
            let list = file.api_keys.iter().flatten().map(String::as_str);
            Keys::parse(list).context("gateway.api_keys")
        }
    }
}

fn address(file: &File, overrides: &Overrides, env: Env<'_>) -> anyhow::Result<(IpAddr, u16)> {
    let host = match overrides.host {
        Some(host) => Some(host),
        None => env_parse(env, "HOST", "an IP address such as 0.0.0.0")?.or(file.host),
    };
    let port = match overrides.port {
        Some(port) => Some(port),
        None => env_parse(env, "PORT", "a port number, 0 to 65535")?.or(file.port),
    };
    Ok((host.unwrap_or(IpAddr::from([127, 0, 0, 1])), port.unwrap_or(8080)))
}

/// A path in the file is relative to the file's folder, as for Codex's own keys.
fn workspace_root(file: &File, overrides: &Overrides, folder: &Path, codex_home: &Path) -> PathBuf {
    let in_file = || file.workspace_root.as_ref().map(|root| folder.join(root));
    let root = overrides.workspace_root.clone().or_else(in_file);
    root.unwrap_or_else(|| codex_home.join("workspaces"))
}

fn server_limits(file: &File, keys: usize, env: Env<'_>) -> anyhow::Result<web::Limits> {
    let max_connections = within("max_connections", file.max_connections, 1..=MAX_COUNT, 1024)?;
    let max_streams = file.max_streams_per_connection;
    let max_streams = within("max_streams_per_connection", max_streams, 1..=10_000, 100)?;
    let drain_timeout = millis("drain_timeout_ms", file.drain_timeout_ms, 9_000)?;
    Ok(web::Limits {
        max_connections,
        max_connections_per_key: within(
            "max_connections_per_key",
            file.max_connections_per_key,
            1..=MAX_COUNT,
            // Without another key, there is nobody to leave connections for.
            if keys > 1 { max_connections - max_connections / 4 } else { max_connections },
        )?,
        max_connections_per_address: within(
            "max_connections_per_address",
            file.max_connections_per_address,
            1..=MAX_COUNT,
            max_connections,
        )?,
        max_streams: u32::try_from(max_streams).unwrap_or(u32::MAX),
        max_unread_bytes: within(
            "max_unread_bytes",
            file.max_unread_bytes,
            1 << 20..=1 << 40,
            256 << 20,
        )?,
        body_limit: within("body_limit_bytes", file.body_limit_bytes, 1024..=MAX_BYTES, 1 << 20)?,
        header_timeout: millis("header_timeout_ms", file.header_timeout_ms, 10_000)?,
        keep_alive_timeout: millis("keep_alive_timeout_ms", file.keep_alive_timeout_ms, 75_000)?,
        body_timeout: millis("body_timeout_ms", file.body_timeout_ms, 30_000)?,
        drain_delay: drain_delay(file, env, drain_timeout)?,
        drain_timeout,
    })
}

/// The variables of Cloud Run and Knative, Kubernetes, Azure Container Apps, and the gateway's image.
const PLATFORMS: [&str; 4] =
    ["K_SERVICE", "KUBERNETES_SERVICE_HOST", "CONTAINER_APP_NAME", "GATEWAY_IMAGE"];

/// Returns the drain delay. By default, a platform that routes requests has a few seconds to notice
/// that the gateway is not ready. The image sets no delay itself, because its environment would win
/// over the operator's file.
fn drain_delay(file: &File, env: Env<'_>, drain_timeout: Duration) -> anyhow::Result<Duration> {
    let in_env = env_parse(env, "GATEWAY_DRAIN_DELAY_MS", "a number of milliseconds")?;
    let (key, delay) = match (in_env, file.drain_delay_ms) {
        (Some(delay), _) => ("GATEWAY_DRAIN_DELAY_MS", delay),
        (None, Some(delay)) => ("gateway.drain_delay_ms", delay),
        (None, None) if PLATFORMS.iter().any(|name| env(name).is_some()) => {
            return Ok(drain_timeout / 3);
        }
        (None, None) => return Ok(Duration::ZERO),
    };
    let delay = Duration::from_millis(delay);
    if delay >= drain_timeout {
        bail!(
            "{key}: expected less than gateway.drain_timeout_ms, {}, got {}",
            drain_timeout.as_millis(),
            delay.as_millis()
        );
    }
    Ok(delay)
}

fn turn_limits(
    file: &File,
    document: &Table,
    env: Env<'_>,
) -> anyhow::Result<conversation::limits::Limits> {
    let max_chars = MAX_USER_INPUT_TEXT_CHARS;
    let prompt_limit = file.prompt_limit_chars;
    let prompt_limit = within("prompt_limit_chars", prompt_limit, 1..=max_chars, max_chars)?;
    // A pre-started conversation starts the programs of [mcp_servers], used or not.
    let servers = document.get("mcp_servers").and_then(Value::as_table);
    let pre_started = if servers.is_none_or(Table::is_empty) { 2 } else { 0 };
    Ok(conversation::limits::Limits {
        default_timeout: default_timeout(file, env)?,
        prompt_limit_chars: prompt_limit,
        max_running: within("max_running_turns", file.max_running_turns, 1..=MAX_COUNT, 256)?,
        max_queued: within("max_queued_prompts", file.max_queued_prompts, 0..=10_000, 16)?,
        max_live: within(
            "max_live_conversations",
            file.max_live_conversations,
            1..=MAX_COUNT,
            1000,
        )?,
        idle: millis("conversation_idle_ms", file.conversation_idle_ms, 1_800_000)?,
        prestarted: within("conversations_ahead", file.conversations_ahead, 0..=1000, pre_started)?,
        event_log_bytes: within(
            "event_log_bytes",
            file.event_log_bytes,
            4096..=MAX_BYTES,
            8 << 20,
        )?,
        max_event_log_bytes: within(
            "max_event_log_bytes",
            file.max_event_log_bytes,
            1 << 20..=MAX_BYTES,
            512 << 20,
        )?,
        heartbeat: millis("heartbeat_ms", file.heartbeat_ms, 15_000)?,
    })
}

fn default_timeout(file: &File, env: Env<'_>) -> anyhow::Result<Duration> {
    let (least, most) = (TIMEOUT_RANGE_MS.start(), TIMEOUT_RANGE_MS.end());
    let takes = format!("{least} to {most} milliseconds");
    let (key, timeout) = match env_parse(env, "CODEX_TIMEOUT_MS", &takes)? {
        Some(timeout) => ("CODEX_TIMEOUT_MS", timeout),
        None => ("gateway.default_timeout_ms", file.default_timeout_ms.unwrap_or(300_000)),
    };
    if !TIMEOUT_RANGE_MS.contains(&timeout) {
        bail!("{key}: expected {takes}, got {timeout}");
    }
    Ok(Duration::from_millis(timeout))
}

fn terminal_limits(file: &File) -> anyhow::Result<TerminalLimits> {
    Ok(TerminalLimits {
        max: within("max_terminals", file.max_terminals, 1..=10_000, 16)?,
        idle: millis("terminal_idle_ms", file.terminal_idle_ms, 900_000)?,
        lifetime: millis("terminal_lifetime_ms", file.terminal_lifetime_ms, 3_600_000)?,
    })
}

fn upstreams(file: &File, env: Env<'_>) -> anyhow::Result<Vec<Upstream>> {
    file.proxy.iter().flatten().map(|(name, table)| table.resolve(name, env)).collect()
}

/// In development mode only this machine's user can call and approve.
fn approval_rules(file: &File, development: bool) -> ApprovalRules {
    ApprovalRules {
        allowed: file.allow_approvals.unwrap_or(development),
        outside_workspace: file.allow_approvals_outside_workspace.unwrap_or(false),
    }
}

/// In development mode only this machine's user can call, so everything is allowed.
fn mcp_rules(file: &File, development: bool) -> McpRules {
    McpRules {
        allow_stdio: file.allow_mcp_stdio.unwrap_or(development),
        allow_private: file.allow_mcp_private.unwrap_or(development),
        token_variables: file.mcp_token_variables.clone().unwrap_or_default(),
    }
}

fn telemetry_settings(table: Telemetry) -> telemetry::Settings {
    telemetry::Settings {
        capture_content: table.capture_content.unwrap_or(false),
        metrics_open: table.metrics_open.unwrap_or(false),
        log_format: table.log_format.unwrap_or_default(),
        forward_baggage: table.forward_baggage.unwrap_or(false),
    }
}

fn text(document: &Table, key: &str) -> Option<String> {
    document.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Returns whether the file's `model` is an alias. `model_provider` must not contradict it.
fn is_alias(models: &Models, model: Option<&str>, provider: Option<&str>) -> anyhow::Result<bool> {
    let Some(alias) = model.and_then(|model| models.get(model)) else { return Ok(false) };
    if let Some(provider) = provider.filter(|provider| *provider != alias.primary.provider) {
        bail!(
            "model_provider: expected {:?}, because model is an alias of {}, got {provider:?}; \
             remove one of the two keys",
            alias.primary.provider,
            alias.primary
        );
    }
    Ok(true)
}

fn features_off(document: &Table) -> Vec<&'static str> {
    let in_file = document.get("features");
    FEATURES_OFF
        .into_iter()
        .filter(|feature| in_file.and_then(|features| features.get(*feature)).is_none())
        .collect()
}
