//! The probe of a tool server: starts it as core would, talks to it with core's own client, and
//! ends it again. A server that dies, hangs or sends no MCP is refused with a reason before a turn
//! depends on it.

mod excerpt;
mod process;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use codex_core::config::Config;
use codex_exec_server::ReqwestHttpClient;
use codex_rmcp_client::InProcessTransportFactory;
use codex_rmcp_client::RmcpClient;
use codex_rmcp_client::is_authentication_required_error;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::DuplexStream;

use self::excerpt::excerpt;
use self::process::Process;
use crate::EngineError;
use crate::mcp::McpServer;
use crate::mcp::McpTool;
use crate::mcp::McpTransport;

/// The client's own time limit exceeds the probe's by this much.
const CLIENT_SLACK: Duration = Duration::from_secs(5);
const PIPE_BYTES: usize = 64 * 1024;
/// A server with more tools is refused: no model could use them.
const MAX_TOOLS: usize = 1000;

/// Lists the tools of a server by starting it. Dropping the future ends the server.
pub(in crate::codex) async fn list_tools(
    server: &McpServer,
    cwd: &Path,
    config: &Config,
) -> Result<Vec<McpTool>, EngineError> {
    match &server.transport {
        McpTransport::Stdio { .. } => over_stdio(server, cwd).await,
        McpTransport::Http { url, bearer_token_env } => {
            over_http(server, url, bearer_token_env.as_deref(), config).await
        }
    }
}

fn failed(server: &McpServer, reason: &str) -> EngineError {
    EngineError::ToolServer(format!("the MCP server {} {reason}", server.name))
}

fn timed_out(server: &McpServer, detail: Option<&str>) -> EngineError {
    let detail = detail.map_or_else(String::new, |detail| format!("; {detail}"));
    EngineError::ToolServerTimedOut(format!(
        "the MCP server {} did not list its tools within {} ms{detail}",
        server.name,
        server.startup.as_millis()
    ))
}

async fn over_stdio(server: &McpServer, cwd: &Path) -> Result<Vec<McpTool>, EngineError> {
    let mut process = Process::start(server, cwd)
        .map_err(|error| failed(server, &format!("cannot be started: {error}")))?;
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let client = RmcpClient::new_in_process_client(Arc::new(SingleStream(Mutex::new(Some(near)))))
        .await
        .map_err(|error| EngineError::Failed(error.to_string()))?;
    let listing = tokio::time::timeout(server.startup, handshake_and_list(&client, server.startup));
    let outcome = tokio::select! {
        biased;
        exit = process.relay(far) => Err(failed(server, &exit)),
        listed = listing => match listed {
            Ok(Ok(tools)) => Ok(tools),
            Ok(Err(error)) => {
                let error = excerpt(&format!("{error:#}"));
                Err(failed(server, &format!("sent an invalid MCP message: {error}")))
            }
            Err(_) => Err(timed_out(server, None)),
        },
    };
    client.shutdown().await;
    let non_mcp_line = process.take_non_mcp_line();
    process.end().await;
    match (outcome, non_mcp_line) {
        (Ok(tools), _) => Ok(tools),
        (Err(error), None) => Err(error),
        (Err(error), Some(line)) => {
            let detail = format!("its output is not MCP: {}", excerpt(&line));
            Err(match error {
                EngineError::ToolServerTimedOut(_) => timed_out(server, Some(&detail)),
                other => EngineError::ToolServer(format!("{other}; {detail}")),
            })
        }
    }
}

async fn over_http(
    server: &McpServer,
    url: &str,
    bearer_token_env: Option<&str>,
    config: &Config,
) -> Result<Vec<McpTool>, EngineError> {
    let token = match bearer_token_env {
        Some(name) => Some(std::env::var(name).map_err(|_| {
            EngineError::Rejected(format!(
                "server_config.bearer_token_env: {name} is not set in the gateway's environment"
            ))
        })?),
        None => None,
    };
    let listing = async {
        let client = RmcpClient::new_streamable_http_client(
            &server.name,
            url,
            token,
            None,
            None,
            config.mcp_oauth_credentials_store_mode,
            config.auth_keyring_backend_kind(),
            Arc::new(ReqwestHttpClient),
            None,
        )
        .await?;
        let tools = handshake_and_list(&client, server.startup).await;
        client.shutdown().await;
        tools
    };
    match tokio::time::timeout(server.startup, listing).await {
        Ok(Ok(tools)) => Ok(tools),
        Ok(Err(error)) if is_authentication_required_error(&error) => {
            Err(failed(server, "requires authentication: set bearer_token_env"))
        }
        Ok(Err(error)) => {
            let reason = http_reason(&format!("{error:#}"));
            Err(failed(server, &format!("does not answer as an MCP server: {reason}")))
        }
        Err(_) => Err(timed_out(server, None)),
    }
}

/// Performs the handshake and reads all pages of the list of tools.
async fn handshake_and_list(client: &RmcpClient, limit: Duration) -> anyhow::Result<Vec<McpTool>> {
    let hello = serde_json::from_value(json!({
        "protocolVersion": "2025-06-18",
        "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "codex-gateway", "version": env!("CARGO_PKG_VERSION") },
    }))
    .context("the handshake")?;
    let refuse_elicitation = Box::new(|_, _| -> BoxFuture<'static, _> {
        Box::pin(async { Err(anyhow::anyhow!("no user answers elicitations during a probe")) })
    });
    // The caller enforces the limit; the client's own is only a fallback.
    let limit = limit.saturating_add(CLIENT_SLACK);
    client.initialize(hello, Some(limit), refuse_elicitation).await?;
    let mut tools = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = match cursor.take() {
            Some(cursor) => Some(serde_json::from_value(json!({ "cursor": cursor }))?),
            None => None,
        };
        let page = client.list_tools(page, Some(limit)).await?;
        tools.extend(page.tools.iter().map(|tool| McpTool {
            name: tool.name.to_string(),
            description: tool.description.as_deref().map(str::to_owned),
        }));
        anyhow::ensure!(tools.len() <= MAX_TOOLS, "it lists more than {MAX_TOOLS} tools");
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(tools),
        }
    }
}

/// A transport of one stream; a probe does not reconnect.
struct SingleStream(Mutex<Option<DuplexStream>>);

impl InProcessTransportFactory for SingleStream {
    fn open(&self) -> BoxFuture<'static, io::Result<DuplexStream>> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async { stream.ok_or_else(|| io::Error::other("the probe has ended")) })
    }
}

/// The client's error about an HTTP server, without the server's own output: the caller chooses the
/// URL and must not read private addresses through error messages.
fn http_reason(error: &str) -> String {
    let inner = error.rsplit("] error: ").next().unwrap_or(error);
    let status = inner.split_once("HTTP ").and_then(|(_, rest)| rest.get(..3));
    match status.filter(|status| status.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(status) => format!("HTTP status {status}"),
        None if ["onnect", "error sending request"].iter().any(|words| inner.contains(words)) => {
            "cannot connect: nothing answers there".to_owned()
        }
        None => "it sent an invalid MCP message".to_owned(),
    }
}
