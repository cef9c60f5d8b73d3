//! `codex app-server`: JSON-RPC over standard input and output, a JSON object a line. `initialize`,
//! `thread/start`, `turn/start`, and notifications up to `turn/completed`.
//!
//! Kept alive, it serves many threads at a time; spawned per request, one.

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

use crate::child;
use crate::http::between;
use crate::seen::Kind;
use crate::seen::Seen;
use crate::seen::Watch;
use crate::system::Conversation;
use crate::system::Job;
use crate::system::Site;
use crate::system::System;

/// It has too many requests waiting, and wants them again later.
const OVERLOADED: i64 = -32001;
/// Until it is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// How it is started.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    program: PathBuf,
    codex_home: PathBuf,
    user_home: PathBuf,
    cwd: PathBuf,
}

impl Recipe {
    /// With a codex home of its own.
    ///
    /// # Errors
    /// A folder cannot be made, or `codex` is not installed.
    pub(crate) fn new(site: &Site, name: &str, tuned: bool) -> anyhow::Result<Self> {
        let codex_home = site.folder(name)?;
        site.configure(&codex_home, tuned)?;
        Ok(Self {
            program: site.peers.codex.clone().context("codex is not installed")?,
            user_home: site.folder("user")?,
            cwd: site.folder(&format!("{name}/workspace"))?,
            codex_home,
        })
    }

    /// The program, without arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = child::command(&self.program, &self.user_home);
        command.env("CODEX_HOME", &self.codex_home).current_dir(&self.cwd);
        command
    }
}

/// An event, as far as it matters.
struct Notice {
    kind: Kind,
    bytes: usize,
    at: Instant,
}

/// What is read of a reply before it is handed out.
#[derive(Default, Deserialize)]
struct Reply {
    id: Option<u64>,
}

/// Who waits for what.
#[derive(Default)]
struct Waiting {
    replies: HashMap<u64, oneshot::Sender<String>>,
    threads: HashMap<String, mpsc::Sender<Notice>>,
}

type Shared = Arc<Mutex<Waiting>>;

fn lock(waiting: &Shared) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running one, initialised.
pub(crate) struct AppServer {
    child: Child,
    stdin: tokio::sync::Mutex<ChildStdin>,
    next_id: AtomicU64,
    waiting: Shared,
    cwd: PathBuf,
}

impl AppServer {
    /// Started, and ready to be asked.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(recipe: &Recipe) -> anyhow::Result<Arc<Self>> {
        let mut child = recipe
            .command()
            .arg("app-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = child.stdout.take().context("stdout")?;
        let waiting = Shared::default();
        Shutdown::default().spawn(read(stdout, Arc::clone(&waiting)));
        let server = Self {
            child,
            stdin: stdin.into(),
            next_id: AtomicU64::new(1),
            waiting,
            cwd: recipe.cwd.clone(),
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

    /// Calls again for as long as it says that it is overloaded, as its protocol wants it.
    async fn call(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        loop {
            let mut reply = self.ask(method, &params).await?;
            if let Some(result) = reply.get_mut("result").map(Value::take) {
                return Ok(result);
            }
            let code = reply.pointer("/error/code").and_then(Value::as_i64);
            anyhow::ensure!(code == Some(OVERLOADED), "{method}: {reply}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, method: &str, params: &Value) -> anyhow::Result<Value> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).replies.insert(id, sender);
        self.send(&json!({ "id": id, "method": method, "params": params })).await?;
        Ok(serde_json::from_str(&receiver.await.context("it ended")?)?)
    }

    async fn thread(self: Arc<Self>) -> anyhow::Result<Thread> {
        let params = json!({
            "cwd": self.cwd,
            "approvalPolicy": "never",
            "sandbox": "workspace-write",
        });
        let started = self.call("thread/start", params).await?;
        let id = started.pointer("/thread/id").and_then(Value::as_str).context("a thread")?;
        let (sender, notices) = mpsc::channel(1 << 16);
        lock(&self.waiting).threads.insert(id.to_owned(), sender);
        Ok(Thread { id: id.to_owned(), notices, server: self })
    }
}

/// Hands out what it says until it ends.
async fn read(stdout: ChildStdout, waiting: Shared) {
    let mut reader = BufReader::with_capacity(1 << 16, stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        let at = Instant::now();
        if line.starts_with(b"{\"id\":") || line.starts_with(b"{\"error\":") {
            let reply: Reply = serde_json::from_slice(&line).unwrap_or_default();
            let sender = reply.id.and_then(|id| lock(&waiting).replies.remove(&id));
            if let Some(sender) = sender {
                drop(sender.send(String::from_utf8_lossy(&line).into_owned()));
            }
        } else {
            let thread = between(&line, "\"threadId\":\"", '"');
            let sender = lock(&waiting).threads.get(thread).cloned();
            if let Some(sender) = sender {
                drop(sender.send(Notice { kind: kind(&line), bytes: line.len(), at }).await);
            }
        }
        line.clear();
    }
    let mut waiting = lock(&waiting);
    waiting.replies.clear();
    waiting.threads.clear();
}

fn kind(line: &[u8]) -> Kind {
    match between(line.get(..80).unwrap_or(line), "{\"method\":\"", '"') {
        "turn/started" => Kind::First,
        "item/agentMessage/delta" => Kind::Word,
        "turn/completed" if between(line, "\"status\":\"", '"') == "completed" => Kind::Last,
        "turn/completed" => Kind::Failed,
        _ => Kind::Other,
    }
}

struct Thread {
    id: String,
    notices: mpsc::Receiver<Notice>,
    server: Arc<AppServer>,
}

impl Thread {
    async fn run(&mut self, prompt: &str, begun: Instant) -> anyhow::Result<Seen> {
        let input = json!([{ "type": "text", "text": prompt }]);
        let params = json!({ "threadId": self.id, "input": input });
        let server = Arc::clone(&self.server);
        let mut watch = Watch::since(begun);
        let asked = std::pin::pin!(server.call("turn/start", params));
        let mut asked = Some(asked);
        loop {
            let notice = match asked.as_mut() {
                Some(reply) => tokio::select! {
                    reply = reply => {
                        reply?;
                        asked = None;
                        continue;
                    }
                    notice = self.notices.recv() => notice,
                },
                None => self.notices.recv().await,
            };
            let Notice { kind, bytes, at } = notice.context("it ended within a turn")?;
            if watch.event(kind, bytes, at)? {
                return Ok(watch.seen);
            }
        }
    }
}

impl System for AppServerKept {
    fn open(&self) -> Job<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let opened: Box<dyn Conversation> = Box::new(Arc::clone(&self.0).thread().await?);
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.0.child.id().into_iter().collect()
    }
}

/// Kept alive.
pub(crate) struct AppServerKept(pub(crate) Arc<AppServer>);

impl Conversation for Thread {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen> {
        Box::pin(self.run(prompt, begun))
    }

    fn close(self: Box<Self>) -> Job<'static, ()> {
        Box::pin(async move {
            lock(&self.server.waiting).threads.remove(&self.id);
            self.server.call("thread/archive", json!({ "threadId": self.id })).await?;
            Ok(())
        })
    }
}

/// Spawned per request: the process ends with its conversation.
pub(crate) struct AppServerSpawned {
    pub(crate) recipe: Recipe,
    running: Arc<Mutex<Vec<u32>>>,
}

impl AppServerSpawned {
    pub(crate) fn new(recipe: Recipe) -> Self {
        Self { recipe, running: Arc::default() }
    }
}

impl System for AppServerSpawned {
    fn open(&self) -> Job<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let server = AppServer::start(&self.recipe).await?;
            let id = server.child.id().unwrap_or_default();
            self.running.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            let thread = server.thread().await?;
            let running = Arc::clone(&self.running);
            let opened: Box<dyn Conversation> = Box::new(Spawned { thread, id, running });
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Spawned {
    thread: Thread,
    id: u32,
    running: Arc<Mutex<Vec<u32>>>,
}

impl Conversation for Spawned {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen> {
        Box::pin(self.thread.run(prompt, begun))
    }

    fn close(self: Box<Self>) -> Job<'static, ()> {
        Box::pin(async move {
            let Self { thread, id, running } = *self;
            drop(thread.notices);
            if let Some(server) = Arc::into_inner(thread.server) {
                child::end(server.child).await;
            }
            running.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != id);
            Ok(())
        })
    }
}
