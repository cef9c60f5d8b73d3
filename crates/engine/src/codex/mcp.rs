//! Tool servers on core: how they stand in its configuration, how a live conversation is told of them,
//! and what it says of them. [`trial`] is the start that `mcp.connect` waits for.

pub(super) mod trial;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use codex_config::types::AppToolApproval;
use codex_config::types::McpServerConfig;
use codex_config::types::McpServerTransportConfig;
use codex_core::CodexThread;
use codex_core::config::Config;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::McpServerRefreshConfig;
use codex_protocol::protocol::McpStartupStatus;
use codex_protocol::protocol::Op;
use toml::Value as TomlValue;

use crate::EngineError;
use crate::mcp::McpServer;
use crate::mcp::McpState;
use crate::mcp::McpTransport;

/// A server as core's configuration writes it.
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
        // A turn goes on without a server that does not start.
        required: false,
        supports_parallel_tool_calls: false,
        disabled_reason: None,
        startup_timeout_sec: Some(server.startup),
        tool_timeout_sec: None,
        // Whoever connected it wants its tools used (see `consent`). Otherwise core asks before each
        // tool that does not call itself read-only, whatever the conversation's approval policy.
        default_tools_approval_mode: Some(AppToolApproval::Approve),
        enabled_tools: None,
        disabled_tools: None,
        scopes: None,
        oauth: None,
        oauth_resource: None,
        tools: HashMap::new(),
    }
}

/// Puts servers into a configuration, in the place of those named in `instead_of`.
pub(super) fn put(
    config: &mut Config,
    servers: &[McpServer],
    instead_of: &[String],
) -> Result<(), EngineError> {
    if servers.is_empty() && instead_of.is_empty() {
        return Ok(());
    }
    let mut all = config.mcp_servers.get().clone();
    all.retain(|name, _| !instead_of.contains(name));
    all.extend(servers.iter().map(|server| (server.name.clone(), entry(server))));
    config
        .mcp_servers
        .set(all)
        .map_err(|error| EngineError::Rejected(format!("server_config: {error}")))?;
    consent(config, servers, instead_of)
        .map_err(|error| EngineError::Failed(format!("the servers' tools: {error}")))
}

/// Has core use the tools of these servers without asking. Core looks that up in what is written of a
/// server in the user's file, and in nothing else; so the file gets a line for each, in memory only. The
/// command in it is never run: servers are started from `mcp_servers`.
fn consent(
    config: &mut Config,
    servers: &[McpServer],
    instead_of: &[String],
) -> std::io::Result<()> {
    let stack = &config.config_layer_stack;
    let layer = stack.get_active_user_layer();
    let mut user = layer.and_then(|layer| layer.config.as_table()).cloned().unwrap_or_default();
    let written = user.remove("mcp_servers");
    let mut written = match written {
        Some(TomlValue::Table(written)) => written,
        Some(_) | None => toml::Table::new(),
    };
    written.retain(|name, _| !instead_of.iter().any(|old| old == name));
    for server in servers {
        let entry = [("command", "true"), ("default_tools_approval_mode", "approve")];
        let entry = entry.into_iter().map(|(key, value)| (key.to_owned(), value.into()));
        written.insert(server.name.clone(), TomlValue::Table(entry.collect()));
    }
    user.insert("mcp_servers".to_owned(), written.into());
    let file = match stack.get_user_config_file() {
        Some(file) => file.clone(),
        None => config.codex_home.join("config.toml"),
    };
    config.config_layer_stack = stack.with_user_config(&file, user.into())?;
    Ok(())
}

/// The names that a server may not take: those of the configuration, and core's own.
pub(super) fn taken(config: &Config) -> Vec<String> {
    let own = [codex_mcp::CODEX_APPS_MCP_SERVER_NAME.to_owned()];
    config.mcp_servers.get().keys().cloned().chain(own).collect()
}

/// The servers of one live conversation.
#[derive(Debug)]
pub(super) struct Servers {
    /// The names that its configuration was started with; core keeps them there.
    at_start: Vec<String>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    current: Vec<McpServer>,
    /// The names of those that core has been told of since.
    told: Vec<String>,
    states: HashMap<String, McpState>,
    /// One has ended: the next turn starts them anew.
    stale: bool,
}

impl Servers {
    pub(super) fn new(servers: &[McpServer]) -> Self {
        Self {
            at_start: servers.iter().map(|server| server.name.clone()).collect(),
            inner: Mutex::new(Inner { current: servers.to_vec(), ..Inner::default() }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next turn is to have.
    pub(super) fn set(&self, servers: Vec<McpServer>) {
        let mut inner = self.lock();
        inner.states.clear();
        inner.current = servers;
        inner.stale = false;
    }

    pub(super) fn states(&self) -> HashMap<String, McpState> {
        self.lock().states.clone()
    }

    /// Whether a server has ended since the last call.
    pub(super) fn take_stale(&self) -> bool {
        std::mem::take(&mut self.lock().stale)
    }

    /// Learns from an event what became of a server.
    pub(super) fn learn(&self, event: &EventMsg) {
        let (server, state, ended) = match event {
            EventMsg::McpStartupUpdate(update) => {
                let state = match &update.status {
                    McpStartupStatus::Starting => McpState::Starting,
                    McpStartupStatus::Ready => McpState::Ready,
                    McpStartupStatus::Failed { error, .. } => McpState::Failed(error.clone()),
                    McpStartupStatus::Cancelled => {
                        McpState::Failed("its start was cancelled".to_owned())
                    }
                };
                (&update.server, state, false)
            }
            EventMsg::McpToolCallEnd(call) => match &call.result {
                Err(error) if is_gone(error) => {
                    (&call.invocation.server, McpState::Failed(error.clone()), true)
                }
                Ok(_) | Err(_) => return,
            },
            _ => return,
        };
        let mut inner = self.lock();
        if inner.current.iter().any(|known| known.name == *server) {
            inner.states.insert(server.clone(), state);
            inner.stale |= ended;
        }
    }

    /// Tells core of the servers. What it returns has them started when the next turn is.
    pub(super) async fn refresh(&self, thread: &CodexThread) -> Result<Op, EngineError> {
        let mut config = Box::new(thread.config().await.as_ref().clone());
        let (current, mut before) = {
            let mut inner = self.lock();
            let current = inner.current.clone();
            let names = current.iter().map(|server| server.name.clone()).collect();
            (current, std::mem::replace(&mut inner.told, names))
        };
        before.extend(self.at_start.iter().cloned());
        put(&mut config, &current, &before)?;
        Box::pin(thread.refresh_runtime_config((*config).clone())).await;
        let runtime = Box::pin(thread.runtime_mcp_config(&config)).await;
        let json = |value: serde_json::Result<serde_json::Value>| {
            value.map_err(|error| EngineError::Failed(error.to_string()))
        };
        Ok(Op::RefreshMcpServers {
            config: McpServerRefreshConfig {
                mcp_servers: json(serde_json::to_value(codex_mcp::configured_mcp_servers(
                    &runtime,
                )))?,
                mcp_oauth_credentials_store_mode: json(serde_json::to_value(
                    config.mcp_oauth_credentials_store_mode,
                ))?,
                auth_keyring_backend_kind: json(serde_json::to_value(
                    config.auth_keyring_backend_kind(),
                ))?,
            },
        })
    }
}

/// Whether an error says that the server's end of the connection is closed.
fn is_gone(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    ["transport closed", "connection closed", "broken pipe", "channel closed"]
        .iter()
        .any(|words| error.contains(words))
}
