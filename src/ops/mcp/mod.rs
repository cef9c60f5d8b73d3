//! MCP servers (tools, the Model Context Protocol), connected at run time (`mcp.*`).
//!
//! The scope of a server is a conversation, or `None`: every conversation that the caller starts afterwards.
//! Servers for everybody are the operator's, in `[mcp_servers]` of the file.

mod server_config;

use std::collections::HashMap;
use std::sync::Arc;

use codex_gateway_engine::mcp::McpState;
use codex_gateway_engine::mcp::McpTool;
use codex_gateway_engine::mcp::McpTransport;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use self::server_config::ServerConfig;
pub(crate) use self::server_config::ServerName;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::conversation::mcp_servers::McpConnection;
use crate::conversation::mcp_servers::McpScope;
use crate::error::Error;
use crate::error::Kind;
use crate::text::rfc3339;

/// A server that was connected.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConnectedServer {
    connected: bool,
    name: String,
    tools: Vec<McpTool>,
    /// Absent if the server is for every conversation that the caller starts afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<ConversationId>,
}

/// Starts a server to list its tools, then adds it to the scope. Goes on if the caller is dropped.
///
/// # Errors
/// `InvalidRequest` names the field; `Forbidden` for what the operator does not permit; `Tool` or
/// `TimedOut` if the server does not list its tools; `Overloaded` if there are too many.
pub(crate) async fn connect(
    app: &Arc<App>,
    caller: &str,
    scope: Option<ConversationRef>,
    config: ServerConfig,
) -> Result<ConnectedServer, Error> {
    let server = config.validate(app)?;
    let conversation_id = scope.as_ref().map(|known| known.id().clone());
    let caller = caller.to_owned();
    let connecting = app.detached(|app| async move {
        let scope = scope.as_ref().map_or(McpScope::New(&caller), McpScope::Conversation);
        let servers = app.conversations().mcp_servers();
        let force = &app.shutdown().force;
        tokio::select! {
            connected = servers.connect(scope, server) => connected,
            () = force.cancelled() => {
                Err(Error::new(Kind::Unavailable, "the gateway is shutting down"))
            }
        }
    });
    let connected = connecting.await?;
    let (name, tools) = (connected.server.name.clone(), connected.tools.clone());
    Ok(ConnectedServer { connected: true, name, tools, conversation_id })
}

/// The servers of a conversation; those of the caller's new conversations if none is named.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ServerList {
    servers: Vec<Server>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<ConversationId>,
}

/// A server.
#[derive(Debug, Serialize, JsonSchema)]
struct Server {
    name: String,
    #[schemars(extend("enum" = ["stdio", "http"]))]
    transport: &'static str,
    /// `connected`: its trial start worked, and the next turn starts it; then `starting`, `ready` or
    /// `failed`.
    #[schemars(extend("enum" = ["connected", "starting", "ready", "failed"]))]
    state: &'static str,
    /// The reason of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// RFC 3339, in milliseconds, UTC.
    #[schemars(extend("format" = "date-time"))]
    connected_at: String,
    tools: Vec<McpTool>,
}

/// Lists the servers of a scope.
pub(crate) fn list(app: &App, caller: &str, scope: Option<&ConversationRef>) -> ServerList {
    let servers = app.conversations().mcp_servers();
    let (connected, states) = match scope {
        Some(known) => (servers.of(known.id()), servers.states(known)),
        None => (servers.for_new(caller), HashMap::new()),
    };
    let servers = connected.into_iter().map(|connected| {
        let state = states.get(&connected.server.name);
        Server::new(&connected, state)
    });
    ServerList {
        servers: servers.collect(),
        conversation_id: scope.map(|known| known.id().clone()),
    }
}

impl Server {
    fn new(connected: &McpConnection, state: Option<&McpState>) -> Self {
        let (state, error) = match state {
            None => ("connected", None),
            Some(McpState::Starting) => ("starting", None),
            Some(McpState::Ready) => ("ready", None),
            Some(McpState::Failed(error)) => ("failed", Some(error.clone())),
        };
        Self {
            transport: match connected.server.transport {
                McpTransport::Stdio { .. } => "stdio",
                McpTransport::Http { .. } => "http",
            },
            name: connected.server.name.clone(),
            state,
            error,
            connected_at: rfc3339(connected.connected_at),
            tools: connected.tools.clone(),
        }
    }
}

/// A server that was disconnected. Conversations lose it with their next turn.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DisconnectedServer {
    disconnected: bool,
    name: String,
}

/// Removes a server from a conversation, or, without one, from all of the caller. Goes on if the caller
/// is dropped.
///
/// # Errors
/// `NotFound` if the scope has no server of that name.
pub(crate) async fn disconnect(
    app: &Arc<App>,
    caller: &str,
    scope: Option<ConversationRef>,
    ServerName(name): ServerName,
) -> Result<DisconnectedServer, Error> {
    let (caller, server) = (caller.to_owned(), name.clone());
    let disconnecting = app.detached(|app| async move {
        let scope = scope.as_ref().map_or(McpScope::New(&caller), McpScope::Conversation);
        let conversations = app.conversations();
        let find = |id: &ConversationId| conversations.get(&caller, id);
        conversations.mcp_servers().disconnect(scope, &server, find).await
    });
    if !disconnecting.await? {
        return Err(Error::new(
            Kind::NotFound,
            format!("name: expected a connected MCP server, got {name}; mcp.list lists them"),
        ));
    }
    Ok(DisconnectedServer { disconnected: true, name })
}
