//! `opencode serve`: a session per conversation; `POST /session/{id}/message` per turn, whose response
//! is the end; events on the bus at `GET /event`. The provider speaks Chat Completions, as the
//! opencode documentation prescribes for custom providers.
//!
//! Each session gets a title: without one, opencode asks the model for it beside the first turn.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use codex_gateway::shutdown::Shutdown;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::json;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::http::Connection;
use crate::http::Http;
use crate::http::Lines;
use crate::http::between;
use crate::process;
use crate::system::Conversation;
use crate::system::Setup;
use crate::system::System;
use crate::system::TryBoxFuture;
use crate::timing::EventKind;
use crate::timing::TurnRecorder;
use crate::timing::TurnTiming;

/// The time limit of the bus events that follow the response of a turn.
const BUS_TIMEOUT: Duration = Duration::from_secs(30);

/// An event of a session: its kind, size in bytes and arrival.
type Notification = (EventKind, usize, Instant);
type Sessions = Arc<Mutex<HashMap<String, mpsc::Sender<Notification>>>>;

pub(crate) struct Opencode {
    child: Child,
    http: Http,
    sessions: Sessions,
}

impl Opencode {
    /// Starts opencode and waits until it listens.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub(crate) async fn start(setup: &Setup) -> anyhow::Result<Self> {
        let home = setup.folder("opencode")?;
        let program = setup.peers.opencode.as_ref().context("opencode is not installed")?;
        let mut child = command(setup, program, &home)?.spawn()?;
        let stdout = child.stdout.take().context("stdout")?;
        let address = process::wait_for_line(stdout, "http://", &Shutdown::default()).await?;
        let http = Http::new(address.trim().parse()?);
        let sessions = Sessions::default();
        let mut connection = http.connection().await?;
        let bus = connection.send(Method::GET, "/event", None).await?.into_body();
        Shutdown::default().spawn(dispatch(bus, Arc::clone(&sessions), connection));
        Ok(Self { child, http, sessions })
    }
}

fn command(setup: &Setup, program: &Path, home: &Path) -> anyhow::Result<tokio::process::Command> {
    let config = json!({
        "autoupdate": false,
        "share": "disabled",
        "model": "scripted/scripted",
        "small_model": "scripted/scripted",
        "provider": { "scripted": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Scripted",
            "options": { "baseURL": setup.model_url, "apiKey": "none" },
            "models": { "scripted": {
                "name": "scripted",
                "limit": { "context": 1_000_000, "output": 32_000 },
            } },
        } },
    });
    let path = home.join("opencode.json");
    std::fs::write(&path, config.to_string())?;
    let mut command = process::command(program, home);
    command
        .args(["serve", "--hostname", "127.0.0.1", "--port", "0"])
        .env("OPENCODE_CONFIG", path)
        // Downloads during the measurement would distort it.
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1")
        .env("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1")
        .current_dir(setup.folder("opencode/workspace")?)
        .stdout(Stdio::piped());
    Ok(command)
}

/// Dispatches the events of the bus. Keeps its connection open.
async fn dispatch(mut bus: Incoming, sessions: Sessions, _connection: Connection) {
    let mut lines = Lines::default();
    while let Some(Ok(frame)) = bus.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let at = Instant::now();
        let mut notifications = Vec::new();
        let read = lines.push(&data, |line| {
            let id = between(line, "\"sessionID\":\"", '"');
            let sender = sessions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
            notifications
                .extend(sender.map(|sender| (sender, (event_kind(line), line.len() + 2, at))));
            Ok(())
        });
        for (sender, notification) in notifications {
            let _ = sender.send(notification).await;
        }
        if read.is_err() {
            return;
        }
    }
}

fn event_kind(line: &[u8]) -> EventKind {
    match between(line.get(..120).unwrap_or(line), "\"type\":\"", '"') {
        "message.part.delta" => EventKind::Delta,
        "session.idle" => EventKind::Completed,
        "session.error" => EventKind::Failed,
        // Any first event of the session counts as its start.
        _ => EventKind::Started,
    }
}

impl System for Opencode {
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let mut connection = self.http.connection().await?;
            let title = json!({ "title": "bench" });
            let response = connection.send(Method::POST, "/session", Some(&title)).await?;
            let body = response.into_body().collect().await?.to_bytes();
            let body: Value = serde_json::from_slice(&body)?;
            let id = body.get("id").and_then(Value::as_str).context("a session")?.to_owned();
            let (sender, notifications) = mpsc::channel(1 << 16);
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.insert(id.clone(), sender);
            drop(sessions);
            let (http, sessions) = (self.http.clone(), Arc::clone(&self.sessions));
            let opened: Box<dyn Conversation> =
                Box::new(Session { id, connection, notifications, http, sessions });
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.child.id().into_iter().collect()
    }
}

struct Session {
    id: String,
    connection: Connection,
    notifications: mpsc::Receiver<Notification>,
    http: Http,
    sessions: Sessions,
}

impl Conversation for Session {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming> {
        Box::pin(async move {
            // Discards late events of the previous turn.
            while self.notifications.try_recv().is_ok() {}
            let path = format!("/session/{}/message", self.id);
            let body = json!({
                "parts": [{ "type": "text", "text": prompt }],
                "model": { "providerID": "scripted", "modelID": "scripted" },
            });
            let response = self.connection.send(Method::POST, &path, Some(&body)).await?;
            let answer = response.into_body().collect().await?.to_bytes();
            let last = begun.elapsed();
            let answer: Value = serde_json::from_slice(&answer)?;
            let finish = answer.pointer("/info/finish").and_then(Value::as_str);
            anyhow::ensure!(finish == Some("stop"), "opencode: the turn failed: {answer}");
            let mut recorder = TurnRecorder::since(begun);
            loop {
                let notification =
                    tokio::time::timeout(BUS_TIMEOUT, self.notifications.recv()).await;
                let (kind, bytes, at) = notification
                    .context("the bus has no end of the turn")?
                    .context("the bus ended")?;
                if recorder.record(kind, bytes, at)? {
                    break;
                }
            }
            recorder.timing.completed = last;
            Ok(recorder.timing)
        })
    }

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { id, connection, notifications, http, sessions } = *self;
            connection.release();
            sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            drop(notifications);
            http.call(Method::DELETE, &format!("/session/{id}"), None).await?;
            Ok(())
        })
    }
}
