//! The gateway in its own process, built by cargo beside this program; and the client of its event
//! stream.

use std::ffi::OsStr;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use codex_gateway::shutdown::Shutdown;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use serde_json::json;
use tokio::process::Child;
use tokio::time::Instant;

use crate::http::Connection;
use crate::http::Http;
use crate::http::Lines;
use crate::http::between;
use crate::paths;
use crate::process;
use crate::system::Conversation;
use crate::system::Setup;
use crate::system::System;
use crate::system::TryBoxFuture;
use crate::timing::EventKind;
use crate::timing::TurnRecorder;
use crate::timing::TurnTiming;

/// Builds the gateway in the profile of this program: cargo builds only the libraries of
/// dependencies, and an outdated binary must not be measured by mistake.
///
/// # Errors
/// If cargo fails.
pub(crate) fn build() -> anyhow::Result<()> {
    let folder = paths::build_folder()?;
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => anyhow::bail!("{}: expected target/<profile>", folder.display()),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        // `cargo run` sets these for this package. Build scripts of dependencies watch them: ring
        // and all crates above it would be rebuilt.
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo
        .args(["build", "--locked", "--package", "codex-gateway", "--bin", "codex-gateway"])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(paths::target_folder()?)
        .arg("--manifest-path")
        .arg(paths::workspace_root().join("Cargo.toml"))
        .status()
        .context("cargo does not start")?;
    anyhow::ensure!(status.success(), "cargo did not build the gateway: {status}");
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    pub(crate) http: Http,
    _tasks: Shutdown,
}

impl Gateway {
    /// Starts the gateway and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn start(setup: &Setup) -> anyhow::Result<Self> {
        let codex_home = setup.folder("gateway")?;
        setup.configure(&codex_home, false)?;
        let program = paths::build_folder()?.join("codex-gateway");
        let mut child = process::command(&program, &setup.folder("user")?)
            .env("CODEX_HOME", &codex_home)
            .env("PORT", "0")
            .env("RUST_LOG", "warn")
            .stderr(Stdio::piped())
            .spawn()?;
        let tasks = Shutdown::default();
        let stderr = child.stderr.take().context("stderr")?;
        let text = process::wait_for_line(stderr, " on http://", &tasks).await?;
        let address = text.split(' ').next().unwrap_or_default().parse()?;
        Ok(Self { child, http: Http::new(address), _tasks: tasks })
    }
}

impl System for Gateway {
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let session_id = uuid::Uuid::now_v7().simple().to_string();
            let connection = self.http.connection().await?;
            let http = self.http.clone();
            let opened: Box<dyn Conversation> =
                Box::new(Session { http, connection, session_id, conversation_id: None });
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.child.id().into_iter().collect()
    }
}

/// A session on one kept connection.
struct Session {
    http: Http,
    connection: Connection,
    session_id: String,
    conversation_id: Option<String>,
}

impl Conversation for Session {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming> {
        Box::pin(async move {
            let body = json!({ "prompt": prompt, "session_id": self.session_id });
            let (timing, id) =
                stream(&mut self.connection, Method::POST, "/exec", Some(&body), begun).await?;
            self.conversation_id = Some(id);
            Ok(timing)
        })
    }

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { http, connection, conversation_id, .. } = *self;
            connection.release();
            if let Some(id) = conversation_id {
                let path = format!("/api/v1/conversations/{id}");
                http.call(Method::DELETE, &path, None).await?;
            }
            Ok(())
        })
    }
}

/// Reads the events of a turn as JSON lines up to the end of the response. Returns the timing and
/// the conversation id.
///
/// # Errors
/// If the turn fails, or its last event is missing.
pub(crate) async fn stream(
    connection: &mut Connection,
    method: Method,
    path: &str,
    body: Option<&Value>,
    begun: Instant,
) -> anyhow::Result<(TurnTiming, String)> {
    let response = connection.send(method, path, body).await?;
    let id = response.headers().get("x-conversation-id");
    let id = id.map(|id| id.to_str().unwrap_or_default().to_owned()).unwrap_or_default();
    let mut body = response.into_body();
    let (mut lines, mut recorder, mut ended) =
        (Lines::default(), TurnRecorder::since(begun), false);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let at = Instant::now();
        lines.push(&data, |line| {
            ended |= recorder.record(event_kind(line), line.len() + 1, at)?;
            Ok(())
        })?;
    }
    anyhow::ensure!(ended, "{path}: the last event of the turn is missing");
    recorder.timing.completed = begun.elapsed();
    Ok((recorder.timing, id))
}

fn event_kind(line: &[u8]) -> EventKind {
    // The envelope comes first and is short.
    let head = line.get(..200).unwrap_or(line);
    let head = head.get(..head.iter().rposition(u8::is_ascii).map_or(0, |last| last + 1));
    match between(head.unwrap_or_default(), "\"msg\":{\"type\":\"", '"') {
        "task_started" => EventKind::Started,
        "agent_message_content_delta" => EventKind::Delta,
        "task_complete" => EventKind::Completed,
        "error" | "turn_aborted" => EventKind::Failed,
        _ => EventKind::Other,
    }
}
