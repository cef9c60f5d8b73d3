//! The trial start of a tool server: it is started as core would start it, spoken to by core's own
//! client, and ended again. So a server that dies, hangs or lies is refused with a reason before a
//! turn depends on it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::process::Stdio;
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
use codex_utils_pty::process_group::kill_process_group;
use codex_utils_pty::process_group::terminate_process_group;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::io::DuplexStream;
use tokio::process::Child;
use tokio::process::ChildStderr;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;

use crate::EngineError;
use crate::mcp::McpServer;
use crate::mcp::McpTool;
use crate::mcp::McpTransport;

/// What a process gets of this one's variables: what core gives it.
const VARIABLES: [&str; 10] =
    ["HOME", "LOGNAME", "PATH", "SHELL", "USER", "LANG", "LC_ALL", "TERM", "TMPDIR", "TZ"];
/// How long a process may take to end once its input is closed, and again once it is told to.
const GRACE: Duration = Duration::from_millis(500);
/// How long its last output is read after its end: a process that it left behind may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How much longer than the trial the client itself would wait.
const SLACK: Duration = Duration::from_secs(5);
const PIPE_BYTES: usize = 64 * 1024;
/// How much of a server's words an error holds.
const EXCERPT: usize = 300;
/// A server that lists more is refused: no model could use them.
const MAX_TOOLS: usize = 1000;

/// The tools of a server, found out by starting it. Dropping the future ends what was started.
pub(in crate::codex) async fn tools(
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

fn failed(server: &McpServer, what: &str) -> EngineError {
    EngineError::ToolServer(format!("the MCP server {} {what}", server.name))
}

fn late(server: &McpServer, but: Option<&str>) -> EngineError {
    let but = but.map_or_else(String::new, |but| format!("; {but}"));
    EngineError::ToolServerTimedOut(format!(
        "the MCP server {} did not list its tools within {} ms{but}",
        server.name,
        server.startup.as_millis()
    ))
}

async fn over_stdio(server: &McpServer, cwd: &Path) -> Result<Vec<McpTool>, EngineError> {
    let mut process = Process::start(server, cwd)
        .map_err(|error| failed(server, &format!("cannot be started: {error}")))?;
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let client = RmcpClient::new_in_process_client(Arc::new(Once(Mutex::new(Some(near)))))
        .await
        .map_err(|error| EngineError::Failed(error.to_string()))?;
    let talked = tokio::select! {
        biased;
        how = process.carry(far) => Err(failed(server, &how)),
        talked = tokio::time::timeout(server.startup, talk(&client, server.startup)) => match talked {
            Ok(Ok(tools)) => Ok(tools),
            Ok(Err(error)) => Err(failed(server, &format!("is not to be understood: {}", excerpt(&format!("{error:#}"))))),
            Err(_) => Err(late(server, None)),
        },
    };
    client.shutdown().await;
    let noise = process.noise.take();
    process.end().await;
    match (talked, noise) {
        (Ok(tools), _) => Ok(tools),
        (Err(error), None) => Err(error),
        (Err(error), Some(noise)) => {
            let said = format!("it is not MCP what it prints: {}", excerpt(&noise));
            Err(match error {
                EngineError::ToolServerTimedOut(_) => late(server, Some(&said)),
                other => EngineError::ToolServer(format!("{other}; {said}")),
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
    let talking = async {
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
        let tools = talk(&client, server.startup).await;
        client.shutdown().await;
        tools
    };
    match tokio::time::timeout(server.startup, talking).await {
        Ok(Ok(tools)) => Ok(tools),
        Ok(Err(error)) if is_authentication_required_error(&error) => {
            Err(failed(server, "wants to know who asks: name a bearer_token_env"))
        }
        Ok(Err(error)) => {
            let why = http_reason(&format!("{error:#}"));
            Err(failed(server, &format!("does not answer as an MCP server: {why}")))
        }
        Err(_) => Err(late(server, None)),
    }
}

/// The handshake, and the list of tools, page by page.
async fn talk(client: &RmcpClient, limit: Duration) -> anyhow::Result<Vec<McpTool>> {
    let hello = serde_json::from_value(json!({
        "protocolVersion": "2025-06-18",
        "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "codex-gateway", "version": env!("CARGO_PKG_VERSION") },
    }))
    .context("the handshake")?;
    let nobody = Box::new(|_, _| -> BoxFuture<'static, _> {
        Box::pin(async { Err(anyhow::anyhow!("nobody is there to answer during a trial start")) })
    });
    // The limit is the caller's to keep; the client's own only ends what he forgets.
    let limit = limit.saturating_add(SLACK);
    client.initialize(hello, Some(limit), nobody).await?;
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

/// Hands the client its one stream; a trial does not reconnect.
struct Once(Mutex<Option<DuplexStream>>);

impl InProcessTransportFactory for Once {
    fn open(&self) -> BoxFuture<'static, io::Result<DuplexStream>> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async { stream.ok_or_else(|| io::Error::other("the trial is over")) })
    }
}

/// A server's process, and all that it started.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The first line that was no JSON object.
    noise: Option<String>,
    group: Group,
}

/// The processes that are ended with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        // That nobody is left is as well.
        let _ = self.0.map(kill_process_group);
    }
}

impl Process {
    fn start(server: &McpServer, cwd: &Path) -> io::Result<Self> {
        let McpTransport::Stdio { command, args, env } = &server.transport else {
            return Err(io::Error::other("it is no process"));
        };
        let inherited =
            VARIABLES.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
        let mut child = Command::new(command)
            .args(args)
            .env_clear()
            .envs(inherited)
            .envs(env)
            .current_dir(cwd)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            noise: None,
            group: Group(child.id()),
            child,
        })
    }

    /// Carries what client and process say to each other, until the process has ended; how it did.
    async fn carry(&mut self, far: DuplexStream) -> String {
        let Self { child, stdin, stdout, stderr, noise, .. } = self;
        let (mut heard, mut said) = tokio::io::split(far);
        let input = async {
            if let Some(stdin) = stdin.as_mut() {
                // A process that does not read has ended or will be late: both are told of elsewhere.
                let _ = tokio::io::copy(&mut heard, stdin).await;
            }
            std::future::pending::<()>().await;
        };
        let output = async {
            let Some(stdout) = stdout.as_mut() else { return };
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            while (&mut stdout)
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .await
                .is_ok_and(|n| n > 0)
            {
                if !line.trim_ascii_start().starts_with(b"{") && !line.trim_ascii().is_empty() {
                    noise.get_or_insert_with(|| String::from_utf8_lossy(&line).into_owned());
                }
                if said.write_all(&line).await.is_err() {
                    return;
                }
                line.clear();
            }
        };
        let mut last = Vec::new();
        let errors = async {
            let Some(stderr) = stderr.as_mut() else { return };
            let mut stderr = BufReader::new(stderr);
            let mut line = Vec::new();
            while (&mut stderr)
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .await
                .is_ok_and(|n| n > 0)
            {
                if !line.trim_ascii().is_empty() {
                    std::mem::swap(&mut last, &mut line);
                }
                line.clear();
            }
        };
        let status = {
            let mut both = std::pin::pin!(async { tokio::join!(output, errors) });
            tokio::select! {
                status = child.wait() => {
                    let _ = tokio::time::timeout(LAST_WORDS, both).await;
                    status
                }
                () = input => return "was lost".to_owned(),
                _ = &mut both => child.wait().await,
            }
        };
        let last = String::from_utf8_lossy(&last);
        let last = match excerpt(&last) {
            last if last.is_empty() => last,
            last => format!("; its last words: {last}"),
        };
        format!("{} before its tools were listed{last}", how(status))
    }

    /// Ends it: its input is closed, then it is told to, then it is killed, with all that it started.
    async fn end(self) {
        let Self { mut child, stdin, group, .. } = self;
        drop(stdin);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            let _ = group.0.map(terminate_process_group);
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
        }
        drop(group);
    }
}

/// The longest line that is read as one.
const MAX_LINE: u64 = 8 << 20;

fn how(status: io::Result<ExitStatus>) -> String {
    let status = match status {
        Ok(status) => status,
        Err(error) => return format!("was lost ({error})"),
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// What the client says of an HTTP server, without what the server said: the client chooses the URL, and
/// is not to read what stands behind it.
fn http_reason(error: &str) -> String {
    let inner = error.rsplit("] error: ").next().unwrap_or(error);
    let status = inner.split_once("HTTP ").and_then(|(_, rest)| rest.get(..3));
    match status.filter(|status| status.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(status) => format!("HTTP status {status}"),
        None if inner.contains("onnect") => "it cannot be reached".to_owned(),
        None => "it is not to be understood".to_owned(),
    }
}

fn excerpt(text: &str) -> String {
    let text = text.trim();
    let mut short: String = text.chars().take(EXCERPT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
