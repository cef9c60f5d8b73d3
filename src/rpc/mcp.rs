//! `mcp.connect`, `mcp.list`, `mcp.disconnect`: tool servers (the Model Context Protocol).

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::SecondsFormat;
use codex_gateway_engine::mcp::McpServer;
use codex_gateway_engine::mcp::McpState;
use codex_gateway_engine::mcp::McpTool;
use codex_gateway_engine::mcp::McpTransport;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::call_context::CallContext;
use super::conversation::ConversationParams;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::servers::Connected;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

/// How long a server may take until its tools are listed, in milliseconds.
const STARTUP_RANGE_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
const STARTUP_MS: u64 = 10_000;
const MAX_NAME: usize = 64;

/// A server, and the conversation that is to have it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Connect {
    server_config: ServerConfig,
    session_id: Option<String>,
    conversation_id: Option<String>,
}

/// A server: either `command` with `args` and `env`, or `url` with `bearer_token_env`.
#[derive(Deserialize, JsonSchema)]
struct ServerConfig {
    /// What the model knows it by: 1 to 64 characters of `A-Za-z0-9_-`.
    name: String,
    /// A program that speaks MCP over its standard input and output. It runs outside the sandbox.
    command: Option<String>,
    args: Option<Vec<String>>,
    /// Its variables, beside `PATH`, `HOME` and their like.
    env: Option<BTreeMap<String, String>>,
    /// An MCP server over streamable HTTP.
    url: Option<String>,
    /// The variable of the gateway that holds its bearer token; one of `gateway.mcp_token_variables`.
    bearer_token_env: Option<String>,
    /// How long it may take until its tools are listed, 100 to 60000; 10000 unless it is set.
    startup_timeout_ms: Option<u64>,
}

/// The server works.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConnectedTo {
    connected: bool,
    name: String,
    tools: Vec<McpTool>,
    /// Absent where the server is for every conversation that starts afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
}

pub(super) async fn connect(call: &CallContext, params: Connect) -> Result<ConnectedTo, Error> {
    let app = call.app();
    let of = scope(app, params.session_id, params.conversation_id)?;
    let server = params.server_config.check(app)?;
    // A client that leaves in between leaves nothing half done.
    let app_ = Arc::clone(app);
    let conversation_id = of.as_ref().map(|known| known.id().to_string());
    let connecting = app.detached(async move {
        let servers = app_.conversations().servers();
        let force = &app_.shutdown().force;
        tokio::select! {
            connected = servers.connect(of.as_ref(), server) => connected,
            () = force.cancelled() => Err(Error::new(Kind::Unavailable, "the gateway is going")),
        }
    });
    let connected = connecting.await?;
    let Connected { server, tools, .. } = connected;
    Ok(ConnectedTo { connected: true, name: server.name, tools, conversation_id })
}

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

fn check_name(place: &str, name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{place}: expected 1 to {MAX_NAME} characters of A-Z, a-z, 0-9, _ and -, got {}",
        excerpt(name)
    )))
}

impl ServerConfig {
    fn check(self, app: &App) -> Result<McpServer, Error> {
        check_name("server_config.name", &self.name)?;
        let startup_ms = self.startup_timeout_ms.unwrap_or(STARTUP_MS);
        if !STARTUP_RANGE_MS.contains(&startup_ms) {
            return Err(Error::invalid(format!(
                "server_config.startup_timeout_ms: expected {} to {} milliseconds, got {startup_ms}",
                STARTUP_RANGE_MS.start(),
                STARTUP_RANGE_MS.end()
            )));
        }
        let startup = Duration::from_millis(startup_ms);
        let name = self.name.clone();
        let transport = match (self.command.is_some(), self.url.is_some()) {
            (true, false) => self.stdio(app)?,
            (false, true) => self.http(app)?,
            (true, true) | (false, false) => {
                return Err(Error::invalid(
                    "server_config: expected either command, a program that speaks MCP over its \
                     standard input and output, or url, an MCP server over HTTP",
                ));
            }
        };
        Ok(McpServer { name, transport, startup })
    }

    fn stdio(self, app: &App) -> Result<McpTransport, Error> {
        if self.bearer_token_env.is_some() {
            return Err(Error::invalid(
                "server_config.bearer_token_env: expected it beside url only; a program gets its \
                 secrets in env",
            ));
        }
        let (command, args) = (self.command.unwrap_or_default(), self.args.unwrap_or_default());
        let env = self.env.unwrap_or_default();
        let sane = |text: &str| !text.contains('\0');
        if command.trim().is_empty() || !sane(&command) {
            return Err(Error::invalid("server_config.command: expected the name of a program"));
        }
        if !args.iter().all(|argument| sane(argument)) {
            return Err(Error::invalid("server_config.args: expected strings without a zero byte"));
        }
        for (name, value) in &env {
            if name.is_empty() || name.contains('=') || !sane(name) || !sane(value) {
                return Err(Error::invalid(
                    "server_config.env: expected names without `=`, and no zero bytes",
                ));
            }
        }
        if !app.config().mcp.allow_stdio {
            return Err(Error::new(
                Kind::Forbidden,
                "server_config.command: a program outside the sandbox needs gateway.allow_mcp_stdio = \
                 true; expected a url, which is always allowed",
            ));
        }
        Ok(McpTransport::Stdio { command, args, env })
    }

    fn http(self, app: &App) -> Result<McpTransport, Error> {
        if self.args.is_some() || self.env.is_some() {
            return Err(Error::invalid(
                "server_config.args, .env: expected them beside command only",
            ));
        }
        let url = self.url.unwrap_or_default();
        let parsed: Option<http::Uri> = url.parse().ok();
        let fits = parsed.is_some_and(|uri| {
            uri.host().is_some_and(|host| !host.is_empty())
                && matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        if !fits {
            return Err(Error::invalid(
                "server_config.url: expected an http or https URL without a user name in it",
            ));
        }
        let allowed = &app.config().mcp.token_variables;
        if let Some(name) = &self.bearer_token_env
            && !allowed.contains(name)
        {
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "server_config.bearer_token_env: expected one of gateway.mcp_token_variables, \
                     which the operator sets, got {}",
                    excerpt(name)
                ),
            ));
        }
        Ok(McpTransport::Http { url, bearer_token_env: self.bearer_token_env })
    }
}

/// Whose servers.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct List {
    session_id: Option<String>,
    conversation_id: Option<String>,
}

/// The servers of a conversation, or, where none is named, those that new conversations get.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    servers: Vec<ListedServer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
}

/// A server.
#[derive(Debug, Serialize, JsonSchema)]
struct ListedServer {
    name: String,
    /// `stdio` or `http`.
    transport: &'static str,
    /// `connected`: it works, and a conversation's next turn starts it; then `starting`, `ready`, or
    /// `failed`.
    state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// RFC 3339, in milliseconds, UTC.
    connected_at: String,
    tools: Vec<McpTool>,
}

pub(super) async fn list(call: &CallContext, params: List) -> Result<Listed, Error> {
    let app = call.app();
    let servers = app.conversations().servers();
    let of = scope(app, params.session_id, params.conversation_id)?;
    let (connected, states) = match &of {
        Some(known) => (servers.of(known.id()), servers.states(known)),
        None => (servers.for_new(), HashMap::new()),
    };
    let listed = connected.into_iter().map(|one| {
        let (state, error) = match states.get(&one.server.name) {
            None => ("connected", None),
            Some(McpState::Starting) => ("starting", None),
            Some(McpState::Ready) => ("ready", None),
            Some(McpState::Failed(error)) => ("failed", Some(error.clone())),
        };
        ListedServer {
            transport: match one.server.transport {
                McpTransport::Stdio { .. } => "stdio",
                McpTransport::Http { .. } => "http",
            },
            name: one.server.name,
            state,
            error,
            connected_at: one.connected_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            tools: one.tools,
        }
    });
    Ok(Listed {
        servers: listed.collect(),
        conversation_id: of.map(|known| known.id().to_string()),
    })
}

/// Which server of which conversation.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Disconnect {
    name: String,
    session_id: Option<String>,
    conversation_id: Option<String>,
}

/// The server is gone from the next turn on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Disconnected {
    disconnected: bool,
    name: String,
}

pub(super) async fn disconnect(
    call: &CallContext,
    params: Disconnect,
) -> Result<Disconnected, Error> {
    let app = call.app();
    check_name("name", &params.name)?;
    let of = scope(app, params.session_id, params.conversation_id)?;
    let (app_, name) = (Arc::clone(app), params.name.clone());
    let disconnected = app.detached(async move {
        let conversations = app_.conversations();
        let live = |id: &_| match conversations.known(id) {
            Some(ConversationRef::Live(conversation)) => Some(conversation),
            Some(ConversationRef::Stored(_)) | None => None,
        };
        conversations.servers().disconnect(of.as_ref(), &name, live).await
    });
    if !disconnected.await? {
        return Err(Error::new(
            Kind::NotFound,
            format!("name: no MCP server is connected as {}; mcp.list names them", params.name),
        ));
    }
    Ok(Disconnected { disconnected: true, name: params.name })
}
