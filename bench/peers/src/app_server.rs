//! `codex app-server`: JSON-RPC over stdin and stdout, one JSON object per line. `initialize`,
//! `thread/start`, `turn/start`, and notifications up to `turn/completed`.
//!
//! A kept process serves many threads at a time; a process spawned per request serves one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use codex_gateway::shutdown::Shutdown;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http::between;
use crate::process;
use crate::process::RunningIds;
use crate::system::Conversation;
use crate::system::Setup;
use crate::system::System;
use crate::system::TryBoxFuture;
use crate::timing::EventKind;
use crate::timing::TurnRecorder;
use crate::timing::TurnTiming;

/// The error code of an overloaded server: the client is to retry.
const OVERLOADED: i64 = -32001;
/// The pause before a retry.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The `codex` program and its folders.
#[derive(Debug, Clone)]
pub(crate) struct CodexCommand {
    program: PathBuf,
    codex_home: PathBuf,
    user_home: PathBuf,
    cwd: PathBuf,
}

impl CodexCommand {
    /// Configures `codex` with its own codex home.
    ///
    /// # Errors
    /// If a folder cannot be created, or `codex` is not installed.
    pub(crate) fn new(setup: &Setup, name: &str, tuned: bool) -> anyhow::Result<Self> {
        let codex_home = setup.folder(name)?;
        setup.configure(&codex_home, tuned)?;
        Ok(Self {
            program: setup.peers.codex.clone().context("codex is not installed")?,
            user_home: setup.folder("user")?,
            cwd: setup.folder(&format!("{name}/workspace"))?,
            codex_home,
        })
    }

    /// The command without arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = process::command(&self.program, &self.user_home);
        command.env("CODEX_HOME", &self.codex_home).current_dir(&self.cwd);
        command
    }
}

/// A notification of a thread, reduced to the timed parts.
struct Notification {
    kind: EventKind,
    bytes: usize,
    at: Instant,
}

/// The part of a reply that is parsed on arrival.
#[derive(Default, Deserialize)]
struct Reply {
    id: Option<u64>,
}

#[derive(Default)]
struct Pending {
    replies: HashMap<u64, oneshot::Sender<String>>,
    threads: HashMap<String, mpsc::Sender<Notification>>,
}

type Shared = Arc<Mutex<Pending>>;

fn lock(pending: &Shared) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running, initialised process.
pub(crate) struct AppServer {
    child: Child,
    stdin: tokio::sync::Mutex<ChildStdin>,
    next_id: AtomicU64,
    pending: Shared,
    cwd: PathBuf,
}

impl AppServer {
    /// Starts and initialises the process.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn start(codex: &CodexCommand) -> anyhow::Result<Arc<Self>> {
        let mut child = codex
            .command()
            .arg("app-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = child.stdout.take().context("stdout")?;
        let pending = Shared::default();
        Shutdown::default().spawn(read(stdout, Arc::clone(&pending)));
        let server = Self {
            child,
            stdin: stdin.into(),
            next_id: AtomicU64::new(1),
            pending,
            cwd: codex.cwd.clone(),
        };
        let client = json!({ "clientInfo": { "name": "codex-gateway-bench", "version": "1" } });
        server.call("initialize", client).await?;
        server.send(&json!({ "method": "initialized" })).await?;
        Ok(Arc::new(server))
    }

    async fn send(&self, message: &Value) -> anyhow::Result<()> {
        let line = format!("{message}\n");
        let mut stdin = self.stdin.lock().await;
        stdin.write_all(line.as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// Calls a method. Retries while the server is overloaded, as the protocol requires.
    async fn call(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        loop {
            let mut reply = self.call_once(method, &params).await?;
            if let Some(result) = reply.get_mut("result").map(Value::take) {
                return Ok(result);
            }
            let code = reply.pointer("/error/code").and_then(Value::as_i64);
            anyhow::ensure!(code == Some(OVERLOADED), "{method}: {reply}");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn call_once(&self, method: &str, params: &Value) -> anyhow::Result<Value> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.pending).replies.insert(id, sender);
        self.send(&json!({ "id": id, "method": method, "params": params })).await?;
        Ok(serde_json::from_str(&receiver.await.context("app-server ended")?)?)
    }

    async fn thread(self: Arc<Self>) -> anyhow::Result<Thread> {
        let params = json!({
            "cwd": self.cwd,
            "approvalPolicy": "never",
            "sandbox": "workspace-write",
        });
        let started = self.call("thread/start", params).await?;
        let id = started.pointer("/thread/id").and_then(Value::as_str).context("a thread")?;
        let (sender, notifications) = mpsc::channel(1 << 16);
        lock(&self.pending).threads.insert(id.to_owned(), sender);
        Ok(Thread { id: id.to_owned(), notifications, server: self })
    }
}

/// Dispatches replies and notifications until stdout ends.
async fn read(stdout: ChildStdout, pending: Shared) {
    let mut reader = BufReader::with_capacity(1 << 16, stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        let at = Instant::now();
        if line.starts_with(b"{\"id\":") || line.starts_with(b"{\"error\":") {
            let reply: Reply = serde_json::from_slice(&line).unwrap_or_default();
            let sender = reply.id.and_then(|id| lock(&pending).replies.remove(&id));
            if let Some(sender) = sender {
                drop(sender.send(String::from_utf8_lossy(&line).into_owned()));
            }
        } else {
            let thread = between(&line, "\"threadId\":\"", '"');
            let sender = lock(&pending).threads.get(thread).cloned();
            if let Some(sender) = sender {
                let kind = event_kind(&line);
                drop(sender.send(Notification { kind, bytes: line.len(), at }).await);
            }
        }
        line.clear();
    }
    let mut pending = lock(&pending);
    pending.replies.clear();
    pending.threads.clear();
}

fn event_kind(line: &[u8]) -> EventKind {
    match between(line.get(..80).unwrap_or(line), "{\"method\":\"", '"') {
        "turn/started" => EventKind::Started,
        "item/agentMessage/delta" => EventKind::Delta,
        "turn/completed" if between(line, "\"status\":\"", '"') == "completed" => {
            EventKind::Completed
        }
        "turn/completed" => EventKind::Failed,
        _ => EventKind::Other,
    }
}

struct Thread {
    id: String,
    notifications: mpsc::Receiver<Notification>,
    server: Arc<AppServer>,
}

impl Thread {
    async fn run(&mut self, prompt: &str, begun: Instant) -> anyhow::Result<TurnTiming> {
        let input = json!([{ "type": "text", "text": prompt }]);
        let params = json!({ "threadId": self.id, "input": input });
        let server = Arc::clone(&self.server);
        let mut recorder = TurnRecorder::since(begun);
        let starting = std::pin::pin!(server.call("turn/start", params));
        let mut starting = Some(starting);
        loop {
            let notification = match starting.as_mut() {
                Some(reply) => tokio::select! {
                    reply = reply => {
                        reply?;
                        starting = None;
                        continue;
                    }
                    notification = self.notifications.recv() => notification,
                },
                None => self.notifications.recv().await,
            };
            let Notification { kind, bytes, at } =
                notification.context("app-server ended within a turn")?;
            if recorder.record(kind, bytes, at)? {
                return Ok(recorder.timing);
            }
        }
    }
}

/// A process kept for all conversations.
pub(crate) struct AppServerKept(pub(crate) Arc<AppServer>);

impl System for AppServerKept {
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let opened: Box<dyn Conversation> = Box::new(Arc::clone(&self.0).thread().await?);
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.0.child.id().into_iter().collect()
    }
}

impl Conversation for Thread {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming> {
        Box::pin(self.run(prompt, begun))
    }

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()> {
        Box::pin(async move {
            lock(&self.server.pending).threads.remove(&self.id);
            self.server.call("thread/archive", json!({ "threadId": self.id })).await?;
            Ok(())
        })
    }
}

/// A process per conversation.
pub(crate) struct AppServerSpawned {
    codex: CodexCommand,
    running: RunningIds,
}

impl AppServerSpawned {
    pub(crate) fn new(codex: CodexCommand) -> Self {
        Self { codex, running: RunningIds::default() }
    }
}

impl System for AppServerSpawned {
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let server = AppServer::start(&self.codex).await?;
            let id = server.child.id().unwrap_or_default();
            self.running.add(id);
            let thread = server.thread().await?;
            let running = self.running.clone();
            let opened: Box<dyn Conversation> = Box::new(Spawned { thread, id, running });
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.running.list()
    }
}

struct Spawned {
    thread: Thread,
    id: u32,
    running: RunningIds,
}

impl Conversation for Spawned {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming> {
        Box::pin(self.thread.run(prompt, begun))
    }

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { thread, id, running } = *self;
            drop(thread.notifications);
            if let Some(server) = Arc::into_inner(thread.server) {
                process::end(server.child).await;
            }
            running.remove(id);
            Ok(())
        })
    }
}
