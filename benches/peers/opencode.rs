//! `opencode serve`: a session a conversation, `POST /session/{id}/message` a turn, whose answer is its
//! end; events on the bus at `GET /event`. Its provider speaks Chat Completions, as its documentation
//! says for a provider of one's own.
//!
//! Sessions are given a title, or it would ask the model for one beside the first turn.

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

use crate::child;
use crate::http::Connection;
use crate::http::Http;
use crate::http::Lines;
use crate::http::between;
use crate::seen::Kind;
use crate::seen::Seen;
use crate::seen::Watch;
use crate::system::Conversation;
use crate::system::Job;
use crate::system::Site;
use crate::system::System;

/// What the bus says after a turn's answer; it comes promptly.
const AFTER: Duration = Duration::from_secs(30);

/// An event of a session's: what it is, its size, when it came.
type Notice = (Kind, usize, Instant);
type Sessions = Arc<Mutex<HashMap<String, mpsc::Sender<Notice>>>>;

pub(crate) struct Opencode {
    child: Child,
    http: Http,
    sessions: Sessions,
}

impl Opencode {
    /// Started, and ready to be asked.
    ///
    /// # Errors
    /// It does not start, or is not installed.
    pub(crate) async fn start(site: &Site) -> anyhow::Result<Self> {
        let home = site.folder("opencode")?;
        let program = site.peers.opencode.as_ref().context("opencode is not installed")?;
        let mut child = command(site, program, &home)?.spawn()?;
        let stdout = child.stdout.take().context("stdout")?;
        let rest = child::announced(stdout, "http://", &Shutdown::default()).await?;
        let http = Http::new(rest.trim().parse()?);
        let sessions = Sessions::default();
        let mut connection = http.connection().await?;
        let bus = connection.send(Method::GET, "/event", None).await?.into_body();
        Shutdown::default().spawn(listen(bus, Arc::clone(&sessions), connection));
        Ok(Self { child, http, sessions })
    }
}

fn command(site: &Site, program: &Path, home: &Path) -> anyhow::Result<tokio::process::Command> {
    let config = json!({
        "autoupdate": false,
        "share": "disabled",
        "model": "scripted/scripted",
        "small_model": "scripted/scripted",
        "provider": { "scripted": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Scripted",
            "options": { "baseURL": site.model_url, "apiKey": "none" },
            "models": { "scripted": {
                "name": "scripted",
                "limit": { "context": 1_000_000, "output": 32_000 },
            } },
        } },
    });
    let path = home.join("opencode.json");
    std::fs::write(&path, config.to_string())?;
    let mut command = child::command(program, home);
    command
        .args(["serve", "--hostname", "127.0.0.1", "--port", "0"])
        .env("OPENCODE_CONFIG", path)
        // Nothing is fetched while it is measured.
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1")
        .env("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1")
        .current_dir(site.folder("opencode/workspace")?)
        .stdout(Stdio::piped());
    Ok(command)
}

/// Hands out what the bus says. Holds its connection.
async fn listen(mut bus: Incoming, sessions: Sessions, _connection: Connection) {
    let mut lines = Lines::default();
    while let Some(Ok(frame)) = bus.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let at = Instant::now();
        let mut notices = Vec::new();
        let read = lines.push(&data, |line| {
            let id = between(line, "\"sessionID\":\"", '"');
            let sender = sessions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
            notices.extend(sender.map(|sender| (sender, (kind(line), line.len() + 2, at))));
            Ok(())
        });
        for (sender, notice) in notices {
            let _ = sender.send(notice).await;
        }
        if read.is_err() {
            return;
        }
    }
}

fn kind(line: &[u8]) -> Kind {
    match between(line.get(..120).unwrap_or(line), "\"type\":\"", '"') {
        "message.part.delta" => Kind::Word,
        "session.idle" => Kind::Last,
        "session.error" => Kind::Failed,
        // Whatever it says of the session first.
        _ => Kind::First,
    }
}

impl System for Opencode {
    fn open(&self) -> Job<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let mut connection = self.http.connection().await?;
            let title = json!({ "title": "bench" });
            let response = connection.send(Method::POST, "/session", Some(&title)).await?;
            let body = response.into_body().collect().await?.to_bytes();
            let body: Value = serde_json::from_slice(&body)?;
            let id = body.get("id").and_then(Value::as_str).context("a session")?.to_owned();
            let (sender, notices) = mpsc::channel(1 << 16);
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.insert(id.clone(), sender);
            drop(sessions);
            let (http, sessions) = (self.http.clone(), Arc::clone(&self.sessions));
            let opened: Box<dyn Conversation> =
                Box::new(Session { id, connection, notices, http, sessions });
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
    notices: mpsc::Receiver<Notice>,
    http: Http,
    sessions: Sessions,
}

impl Conversation for Session {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen> {
        Box::pin(async move {
            // What came after the turn before is not of this one.
            while self.notices.try_recv().is_ok() {}
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
            let mut watch = Watch::since(begun);
            loop {
                let notice = tokio::time::timeout(AFTER, self.notices.recv()).await;
                let (kind, bytes, at) = notice.context("no end on the bus")?.context("no bus")?;
                if watch.event(kind, bytes, at)? {
                    break;
                }
            }
            watch.seen.last = last;
            Ok(watch.seen)
        })
    }

    fn close(self: Box<Self>) -> Job<'static, ()> {
        Box::pin(async move {
            let Self { id, connection, notices, http, sessions } = *self;
            connection.give_back();
            sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            drop(notices);
            http.call(Method::DELETE, &format!("/session/{id}"), None).await?;
            Ok(())
        })
    }
}
