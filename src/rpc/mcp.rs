//! `mcp.connect`, `mcp.list`, `mcp.disconnect`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::call_context::CallContext;
use super::conversation::ConversationParams;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::ops::mcp;
pub(super) use crate::ops::mcp::ConnectedServer;
pub(super) use crate::ops::mcp::DisconnectedServer;
use crate::ops::mcp::ServerConfig;
pub(super) use crate::ops::mcp::ServerList;

/// A server and its conversation.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Connect {
    server_config: ServerConfig,
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
}

/// `mcp.connect`
pub(super) async fn connect(call: &CallContext, params: Connect) -> Result<ConnectedServer, Error> {
    let scope = scope(call.app(), params.session_id, params.conversation_id)?;
    mcp::connect(call.app(), scope, params.server_config).await
}

/// A conversation.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct List {
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
}

/// `mcp.list`
pub(super) async fn list(call: &CallContext, params: List) -> Result<ServerList, Error> {
    let scope = scope(call.app(), params.session_id, params.conversation_id)?;
    Ok(mcp::list(call.app(), scope.as_ref()))
}

/// The name of a server, and its conversation.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Disconnect {
    name: String,
    #[schemars(with = "Option<SessionId>")]
    session_id: Option<String>,
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<String>,
}

/// `mcp.disconnect`
pub(super) async fn disconnect(
    call: &CallContext,
    params: Disconnect,
) -> Result<DisconnectedServer, Error> {
    let scope = scope(call.app(), params.session_id, params.conversation_id)?;
    mcp::disconnect(call.app(), scope, params.name).await
}

/// The conversation that is named, if one is.
fn scope(
    app: &App,
    session_id: Option<String>,
    conversation_id: Option<String>,
) -> Result<Option<ConversationRef>, Error> {
    if session_id.is_none() && conversation_id.is_none() {
        return Ok(None);
    }
    ConversationParams::new(session_id, conversation_id).require(app).map(Some)
}
