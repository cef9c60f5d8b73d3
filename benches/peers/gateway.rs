//! The gateway, the binary that cargo built, in a process of its own; and the client of its event
//! stream.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use codex_gateway::shutdown::Shutdown;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use serde_json::json;
use tokio::process::Child;
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

#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    pub(crate) http: Http,
    _tasks: Shutdown,
}

impl Gateway {
    /// Started, and ready to be asked.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(site: &Site) -> anyhow::Result<Self> {
        let codex_home = site.folder("gateway")?;
        site.configure(&codex_home, false)?;
        let program = Path::new(env!("CARGO_BIN_EXE_codex-gateway"));
        let mut child = child::command(program, &site.folder("user")?)
            .env("CODEX_HOME", &codex_home)
            .env("PORT", "0")
            .env("RUST_LOG", "warn")
            .stderr(Stdio::piped())
            .spawn()?;
        let tasks = Shutdown::default();
        let stderr = child.stderr.take().context("stderr")?;
        let rest = child::announced(stderr, " on http://", &tasks).await?;
        let address = rest.split(' ').next().unwrap_or_default().parse()?;
        Ok(Self { child, http: Http::new(address), _tasks: tasks })
    }
}

impl System for Gateway {
    fn open(&self) -> Job<'_, Box<dyn Conversation>> {
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

/// A session, on a connection that is kept.
struct Session {
    http: Http,
    connection: Connection,
    session_id: String,
    conversation_id: Option<String>,
}

impl Conversation for Session {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen> {
        Box::pin(async move {
            let body = json!({ "prompt": prompt, "session_id": self.session_id });
            let (seen, id) =
                stream(&mut self.connection, Method::POST, "/exec", Some(&body), begun).await?;
            self.conversation_id = Some(id);
            Ok(seen)
        })
    }

    fn close(self: Box<Self>) -> Job<'static, ()> {
        Box::pin(async move {
            let Self { http, connection, conversation_id, .. } = *self;
            connection.give_back();
            if let Some(id) = conversation_id {
                let path = format!("/api/v1/conversations/{id}");
                http.call(Method::DELETE, &path, None).await?;
            }
            Ok(())
        })
    }
}

/// A turn's events as JSON lines, to the end of the answer. Returns also the conversation's id.
///
/// # Errors
/// The turn fails, or its last event is missing.
pub(crate) async fn stream(
    connection: &mut Connection,
    method: Method,
    path: &str,
    body: Option<&Value>,
    begun: Instant,
) -> anyhow::Result<(Seen, String)> {
    let response = connection.send(method, path, body).await?;
    let id = response.headers().get("x-conversation-id");
    let id = id.map(|id| id.to_str().unwrap_or_default().to_owned()).unwrap_or_default();
    let mut body = response.into_body();
    let (mut lines, mut watch, mut ended) = (Lines::default(), Watch::since(begun), false);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let at = Instant::now();
        lines.push(&data, |line| {
            ended |= watch.event(kind(line), line.len() + 1, at)?;
            Ok(())
        })?;
    }
    anyhow::ensure!(ended, "{path}: the turn's end is missing");
    watch.seen.last = begun.elapsed();
    Ok((watch.seen, id))
}

fn kind(line: &[u8]) -> Kind {
    // The envelope comes first, and it is short.
    let head = line.get(..200).unwrap_or(line);
    let head = head.get(..head.iter().rposition(u8::is_ascii).map_or(0, |last| last + 1));
    match between(head.unwrap_or_default(), "\"msg\":{\"type\":\"", '"') {
        "task_started" => Kind::First,
        "agent_message_content_delta" => Kind::Word,
        "task_complete" => Kind::Last,
        "error" | "turn_aborted" => Kind::Failed,
        _ => Kind::Other,
    }
}
