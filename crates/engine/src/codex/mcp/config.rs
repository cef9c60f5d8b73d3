//! Tool servers in core's configuration.

use std::collections::HashMap;

use codex_config::types::AppToolApproval;
use codex_config::types::McpServerConfig;
use codex_config::types::McpServerTransportConfig;
use codex_core::config::Config;
use toml::Value as TomlValue;

use crate::EngineError;
use crate::mcp::McpServer;
use crate::mcp::McpTransport;

/// Core's configuration entry for a server.
fn entry(server: &McpServer) -> McpServerConfig {
    let transport = match &server.transport {
        McpTransport::Stdio { command, args, env } => McpServerTransportConfig::Stdio {
            command: command.clone(),
            args: args.clone(),
            env: Some(env.clone().into_iter().collect()),
            env_vars: Vec::new(),
            cwd: None,
        },
        McpTransport::Http { url, bearer_token_env } => McpServerTransportConfig::StreamableHttp {
            url: url.clone(),
            bearer_token_env_var: bearer_token_env.clone(),
            http_headers: None,
            env_http_headers: None,
        },
    };
    McpServerConfig {
        transport,
        auth: codex_config::types::McpServerAuth::default(),
        environment_id: codex_config::DEFAULT_MCP_SERVER_ENVIRONMENT_ID.to_owned(),
        enabled: true,
        // A server that does not start must not fail the turn.
        required: false,
        supports_parallel_tool_calls: false,
        disabled_reason: None,
        startup_timeout_sec: Some(server.startup),
        tool_timeout_sec: None,
        // The caller connected it to use its tools (see `approve_tools`). Otherwise core asks
        // before each tool that is not declared read-only, under every approval policy.
        default_tools_approval_mode: Some(AppToolApproval::Approve),
        enabled_tools: None,
        disabled_tools: None,
        scopes: None,
        oauth: None,
        oauth_resource: None,
        tools: HashMap::new(),
    }
}

/// Adds servers to a configuration, in place of those named in `replaced`.
pub(in crate::codex) fn set_servers(
    config: &mut Config,
    servers: &[McpServer],
    replaced: &[String],
) -> Result<(), EngineError> {
    if servers.is_empty() && replaced.is_empty() {
        return Ok(());
    }
    let mut all = config.mcp_servers.get().clone();
    all.retain(|name, _| !replaced.contains(name));
    all.extend(servers.iter().map(|server| (server.name.clone(), entry(server))));
    config
        .mcp_servers
        .set(all)
        .map_err(|error| EngineError::Rejected(format!("server_config: {error}")))?;
    approve_tools(config, servers, replaced)
        .map_err(|error| EngineError::Failed(format!("cannot approve the servers' tools: {error}")))
}

/// Approves the tools of these servers in advance. Core looks up the approval only in the user's
/// file, so each server gets an entry in that file, in memory only. The command in the entry never
/// runs: servers are started from `mcp_servers`.
fn approve_tools(
    config: &mut Config,
    servers: &[McpServer],
    replaced: &[String],
) -> std::io::Result<()> {
    let stack = &config.config_layer_stack;
    let layer = stack.get_active_user_layer();
    let mut user = layer.and_then(|layer| layer.config.as_table()).cloned().unwrap_or_default();
    let mut tables = match user.remove("mcp_servers") {
        Some(TomlValue::Table(tables)) => tables,
        Some(_) | None => toml::Table::new(),
    };
    tables.retain(|name, _| !replaced.iter().any(|replaced| replaced == name));
    for server in servers {
        let entry = [("command", "true"), ("default_tools_approval_mode", "approve")];
        let entry = entry.into_iter().map(|(key, value)| (key.to_owned(), value.into()));
        tables.insert(server.name.clone(), TomlValue::Table(entry.collect()));
    }
    user.insert("mcp_servers".to_owned(), tables.into());
    let file = match stack.get_user_config_file() {
        Some(file) => file.clone(),
        None => config.codex_home.join("config.toml"),
    };
    config.config_layer_stack = stack.with_user_config(&file, user.into())?;
    Ok(())
}

/// Names that a connected server must not have: those of the configuration and core's own.
pub(in crate::codex) fn reserved_names(config: &Config) -> Vec<String> {
    let own = [codex_mcp::CODEX_APPS_MCP_SERVER_NAME.to_owned()];
    config.mcp_servers.get().keys().cloned().chain(own).collect()
}
