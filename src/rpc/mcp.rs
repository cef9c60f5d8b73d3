//! `mcp.connect`, `mcp.list`, `mcp.disconnect`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::call_context::CallContext;
use super::conversation::PerhapsConversation;
use crate::error::Error;
use crate::input::joined::Joined;
use crate::ops::mcp;
pub(super) use crate::ops::mcp::ConnectedServer;
pub(super) use crate::ops::mcp::DisconnectedServer;
use crate::ops::mcp::ServerConfig;
pub(super) use crate::ops::mcp::ServerList;
use crate::ops::mcp::ServerName;

/// A conversation, or none, and a method's own members.
pub(super) type InScope<T> = Joined<PerhapsConversation, T>;

/// A server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectRequest {
    server_config: ServerConfig,
}

/// `mcp.connect`
pub(super) async fn connect(
    call: &CallContext,
    Joined(scope, request): InScope<ConnectRequest>,
) -> Result<ConnectedServer, Error> {
    mcp::connect(call.app(), call.caller(), scope.find(call)?, request.server_config).await
}

/// `mcp.list`
pub(super) async fn list(
    call: &CallContext,
    scope: PerhapsConversation,
) -> Result<ServerList, Error> {
    Ok(mcp::list(call.app(), call.caller(), scope.find(call)?.as_ref()))
}

/// The name of a server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectRequest {
    name: ServerName,
}

/// `mcp.disconnect`
pub(super) async fn disconnect(
    call: &CallContext,
    Joined(scope, request): InScope<DisconnectRequest>,
) -> Result<DisconnectedServer, Error> {
    mcp::disconnect(call.app(), call.caller(), scope.find(call)?, request.name).await
}
