//! `codex-gateway check`: what the configuration resolved to. Nothing is started and no secret is
//! shown.

use std::io::Write;

use codex_gateway_engine::arg0::HelperPaths;

use crate::bridge::Endpoint;
use crate::bridge::provider::Provider;
use crate::config::Config;

pub(super) async fn run(config: &Config, helpers: HelperPaths) -> anyhow::Result<u8> {
    // The bridge is not started, but core's configuration has to name it.
    let endpoint = Endpoint { base_url: "http://127.0.0.1".into(), bearer_token: "-".into() };
    let mut options = config.engine_options(helpers, &endpoint);
    // Checking makes no folders; core wants one that exists.
    if !options.workspace_root.exists() {
        options.workspace_root.clone_from(&config.codex_home);
    }
    let (model, provider) = codex_gateway_engine::codex::check(&options).await?;
    let keys: Vec<String> = config.keys.names().map(|name| format!("{name}=****")).collect();
    let mut out = std::io::stdout().lock();
    let file = if config.config_path.exists() { "" } else { " (not there: defaults)" };
    writeln!(out, "config file      {}{file}", config.config_path.display())?;
    writeln!(out, "codex home       {}", config.codex_home.display())?;
    writeln!(out, "listen on        {}:{}", config.host, config.port)?;
    writeln!(
        out,
        "API keys         {}",
        if keys.is_empty() {
            "none: development mode, loopback only".into()
        } else {
            keys.join(", ")
        }
    )?;
    writeln!(
        out,
        "model            {model}, provider {provider} ({})",
        config.model_source.reason()
    )?;
    for provider in &config.providers {
        writeln!(out, "provider         {}", describe(provider))?;
    }
    for (alias, entry) in config.models.iter() {
        let fallback: Vec<String> = entry.fallback.iter().map(ToString::to_string).collect();
        let then = if fallback.is_empty() { "" } else { ", then " };
        writeln!(out, "model alias      {alias} = {}{then}{}", entry.primary, fallback.join(", "))?;
    }
    writeln!(out, "workspace root   {}", config.workspace_root.display())?;
    writeln!(out, "turn timeout     {} ms", config.turns.default_timeout.as_millis())?;
    writeln!(out, "prompt limit     {} characters", config.turns.prompt_limit_chars)?;
    writeln!(out, "queued prompts   {} per conversation", config.turns.max_queued)?;
    writeln!(
        out,
        "live             {} conversations, {} ms idle",
        config.turns.max_live,
        config.turns.idle.as_millis()
    )?;
    writeln!(out, "event log        {} bytes per conversation", config.turns.event_log_bytes)?;
    writeln!(
        out,
        "terminals        {}, {} ms idle, {} ms in all",
        config.terminals.max,
        config.terminals.idle.as_millis(),
        config.terminals.lifetime.as_millis()
    )?;
    let upstreams: Vec<&str> = config.proxies.iter().map(|one| one.name.as_str()).collect();
    writeln!(
        out,
        "reverse calls    {}",
        if upstreams.is_empty() { "refused".into() } else { upstreams.join(", ") }
    )?;
    writeln!(out, "heartbeat        {} ms", config.turns.heartbeat.as_millis())?;
    writeln!(out, "connections      {}", config.server.max_connections)?;
    writeln!(out, "body limit       {} bytes", config.server.body_limit)?;
    writeln!(out, "header timeout   {} ms", config.server.header_timeout.as_millis())?;
    writeln!(out, "body timeout     {} ms", config.server.body_timeout.as_millis())?;
    writeln!(out, "drain timeout    {} ms", config.server.drain_timeout.as_millis())?;
    writeln!(
        out,
        "full access      {}",
        if config.allow_danger_full_access { "allowed" } else { "refused" }
    )?;
    writeln!(
        out,
        "raw events       {}",
        if config.allow_raw_events { "allowed" } else { "refused" }
    )?;
    writeln!(
        out,
        "no sandbox       {}",
        if config.allow_no_sandbox { "allowed (UNSAFE)" } else { "tools off" }
    )?;
    writeln!(out, "ok")?;
    Ok(0)
}

/// A provider without its key: a query may hold one too.
fn describe(provider: &Provider) -> String {
    format!(
        "{} ({} at {}, {} calls at a time)",
        provider.id,
        provider.api.as_str(),
        provider.base_url,
        provider.max_concurrent
    )
}
