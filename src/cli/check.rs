//! `codex-gateway check`: validates the configuration and prints the resolved values. Starts
//! nothing and prints no secret.

use std::io;
use std::io::Write;

use codex_gateway_engine::arg0::HelperPaths;

use crate::app::providers;
use crate::bridge::Endpoint;
use crate::bridge::provider::Provider;
use crate::config::Config;

pub(super) async fn run(config: &Config, helpers: HelperPaths) -> anyhow::Result<u8> {
    // Core's configuration must name the bridge, although it is not started.
    let endpoint = Endpoint { base_url: "http://127.0.0.1".into(), bearer_token: "-".into() };
    let mut options = providers::engine_options(config, helpers, &endpoint);
    // Core requires an existing folder, and a check creates none.
    if !options.workspace_root.exists() {
        options.workspace_root.clone_from(&config.codex_home);
    }
    let (model, provider) = codex_gateway_engine::codex::check(&options).await?;
    let default_model = format!("{model}, provider {provider} ({})", config.model_source.reason());
    let mut out = Report(io::stdout().lock());
    general(&mut out, config)?;
    models(&mut out, config, &default_model)?;
    limits(&mut out, config)?;
    permissions(&mut out, config)?;
    writeln!(out.0, "ok")?;
    Ok(0)
}

/// A list of aligned labels and values.
struct Report<W>(W);

impl<W: Write> Report<W> {
    fn line(&mut self, label: &str, value: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.0, "{label:<20} {value}")
    }
}

fn general<W: Write>(out: &mut Report<W>, config: &Config) -> io::Result<()> {
    let keys: Vec<String> = config.keys.names().map(|name| format!("{name}=****")).collect();
    let missing = if config.config_path.exists() { "" } else { " (not found, using defaults)" };
    out.line("config file", format_args!("{}{missing}", config.config_path.display()))?;
    out.line("codex home", config.codex_home.display())?;
    out.line("workspace root", config.workspace_root.display())?;
    out.line("listen address", format_args!("{}:{}", config.host, config.port))?;
    if keys.is_empty() {
        out.line("API keys", "none (development mode, loopback only)")
    } else {
        out.line("API keys", keys.join(", "))
    }
}

fn models<W: Write>(out: &mut Report<W>, config: &Config, default: &str) -> io::Result<()> {
    out.line("model", default)?;
    for provider in &config.providers {
        out.line("provider", describe(provider))?;
    }
    for (alias, entry) in config.models.iter() {
        let fallback: Vec<String> = entry.fallback.iter().map(ToString::to_string).collect();
        let then = if fallback.is_empty() { "" } else { ", fallback " };
        let targets = format!("{}{then}{}", entry.primary, fallback.join(", "));
        out.line("model alias", format_args!("{alias} = {targets}"))?;
    }
    Ok(())
}

fn limits<W: Write>(out: &mut Report<W>, config: &Config) -> io::Result<()> {
    let (server, turns, terminals) = (&config.server, &config.turns, &config.terminals);
    let mut millis = |label: &str, duration: std::time::Duration| {
        out.line(label, format_args!("{} ms", duration.as_millis()))
    };
    millis("turn timeout", turns.default_timeout)?;
    millis("heartbeat", turns.heartbeat)?;
    millis("header timeout", server.header_timeout)?;
    millis("body timeout", server.body_timeout)?;
    millis("keep-alive timeout", server.keep_alive_timeout)?;
    millis("drain timeout", server.drain_timeout)?;
    millis("drain delay", server.drain_delay)?;
    out.line(
        "connections",
        format_args!(
            "at most {}, of one key at most {}, without a key at most {} of one address",
            server.max_connections,
            server.max_connections_per_key,
            server.max_connections_per_address
        ),
    )?;
    out.line("HTTP/2 streams", format_args!("at most {} per connection", server.max_streams))?;
    out.line("unread responses", format_args!("at most {} bytes", server.max_unread_bytes))?;
    out.line("request body", format_args!("at most {} bytes", server.body_limit))?;
    out.line("prompt", format_args!("at most {} characters", turns.prompt_limit_chars))?;
    out.line("running turns", format_args!("at most {}", turns.max_running))?;
    out.line("queued prompts", format_args!("at most {} per conversation", turns.max_queued))?;
    let idle = turns.idle.as_millis();
    out.line(
        "live conversations",
        format_args!("at most {}, each until idle for {idle} ms", turns.max_live),
    )?;
    out.line(
        "event logs",
        format_args!(
            "{} bytes per conversation, {} in all",
            turns.event_log_bytes, turns.max_event_log_bytes
        ),
    )?;
    let (idle, lifetime) = (terminals.idle.as_millis(), terminals.lifetime.as_millis());
    out.line(
        "terminals",
        format_args!(
            "at most {}, each until idle for {idle} ms or {lifetime} ms old",
            terminals.max
        ),
    )
}

fn permissions<W: Write>(out: &mut Report<W>, config: &Config) -> io::Result<()> {
    let allowed = |allowed: bool| if allowed { "allowed" } else { "refused" };
    let upstreams: Vec<&str> = config.proxies.iter().map(|one| one.name.as_str()).collect();
    if upstreams.is_empty() {
        out.line("reverse calls", "refused (no upstream)")?;
    } else {
        out.line("reverse calls", upstreams.join(", "))?;
    }
    out.line("danger-full-access", allowed(config.allow_danger_full_access))?;
    out.line("approvals", allowed(config.approvals.allowed))?;
    out.line("approvals outside", allowed(config.approvals.outside_workspace))?;
    out.line("raw events", allowed(config.allow_raw_events))?;
    out.line("MCP programs", allowed(config.mcp.allow_stdio))?;
    out.line("MCP private URLs", allowed(config.mcp.allow_private))?;
    let no_sandbox = if config.allow_no_sandbox {
        "tools run unsandboxed (UNSAFE)"
    } else {
        "tools are disabled"
    };
    out.line("without a sandbox", no_sandbox)
}

/// Describes a provider without its key. The query is omitted because it may contain one.
fn describe(provider: &Provider) -> String {
    format!(
        "{} ({} at {}, at most {} concurrent calls)",
        provider.id,
        provider.api.as_str(),
        provider.base_url,
        provider.max_concurrent
    )
}
