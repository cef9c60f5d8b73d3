//! A scripted [`Engine`] for tests: no model, no process, no disk.
//!
//! A test starts threads through the engine, reads their submissions and pushes their events. It
//! can also hold submissions and closes, and fail starts and submissions:
//!
//! ```text
//! let engine = ScriptedEngine::new();
//! // … the code under test starts a thread and prompts …
//! let thread = engine.thread(0);
//! let submitted = thread.next_submission().await;
//! thread.complete_turn(&submitted.id, "done");
//! ```
//!
//! Nothing happens by itself: a thread yields only pushed events, except that closing it yields
//! `shutdown_complete`, as in core. Time limits are subject to tokio's clock, so tests can pause
//! it.

mod gate;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::BoxFuture;
use codex_gateway_engine::Command;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::EngineFacts;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadFacts;
use codex_gateway_engine::ThreadSpec;
use codex_gateway_engine::children::Report as LimitsReport;
use codex_gateway_engine::history::HistoryPage;
use codex_gateway_engine::mcp::McpServer;
use codex_gateway_engine::mcp::McpTool;
use codex_gateway_engine::process::Process;
use codex_gateway_engine::sandbox::Mechanism;
use codex_gateway_engine::sandbox::Report;
use codex_gateway_engine::sandbox::Tools;
use codex_gateway_engine::terminal::OpenTerminal;
use codex_gateway_engine::terminal::TerminalSpec;

pub(crate) use self::thread::ScriptedThread;
use crate::sync::Mutex;

/// The model and the provider of threads whose spec names none.
const DEFAULT: &str = "scripted";

/// An engine whose threads do what a test says.
pub(crate) struct ScriptedEngine {
    facts: EngineFacts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: Vec<Arc<ScriptedThread>>,
    start_errors: VecDeque<EngineError>,
}

impl ScriptedEngine {
    pub(crate) fn new() -> Arc<Self> {
        let facts = EngineFacts {
            name: DEFAULT,
            model: DEFAULT.to_owned(),
            model_provider: DEFAULT.to_owned(),
            model_providers: vec![DEFAULT.to_owned()],
            sandbox: Report {
                mechanism: Mechanism::None,
                tools: Tools::On,
                detail: "scripted".to_owned(),
                fix: None,
            },
            limits: LimitsReport::none(),
        };
        Arc::new(Self { facts, state: Mutex::default() })
    }

    /// The thread that was started, resumed or forked as number `index`, from 0.
    pub(crate) fn thread(&self, index: usize) -> Arc<ScriptedThread> {
        Arc::clone(&self.state.lock().threads[index])
    }

    /// Fails the next start, resume or fork. Several errors queue up.
    pub(crate) fn fail_next_start(&self, error: EngineError) {
        self.state.lock().start_errors.push_back(error);
    }

    fn spawn(&self, id: String, spec: ThreadSpec) -> Result<Arc<dyn Thread>, EngineError> {
        let mut state = self.state.lock();
        if let Some(error) = state.start_errors.pop_front() {
            return Err(error);
        }
        let default = || DEFAULT.to_owned();
        let thread = Arc::new(ScriptedThread::new(ThreadFacts {
            id,
            model: spec.model.unwrap_or_else(default),
            model_provider: spec.model_provider.unwrap_or_else(default),
            cwd: spec.cwd,
            damaged_lines: 0,
        }));
        state.threads.push(Arc::clone(&thread));
        Ok(thread)
    }
}

fn ready<T: Send + 'static>(result: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(result))
}

fn new_thread_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn not_scripted<T>(what: &str) -> Result<T, EngineError> {
    Err(EngineError::Rejected(format!("{what}: not scripted")))
}

impl Engine for ScriptedEngine {
    fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    fn start(&self, spec: ThreadSpec) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>> {
        ready(self.spawn(new_thread_id(), spec))
    }

    fn resume(
        &self,
        thread_id: String,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>> {
        ready(self.spawn(thread_id, spec))
    }

    fn fork(
        &self,
        _thread_id: String,
        _after_turn: Option<String>,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>> {
        ready(self.spawn(new_thread_id(), spec))
    }

    fn history(
        &self,
        _thread_id: String,
        _after: Option<String>,
        _limit: usize,
    ) -> BoxFuture<'_, Result<HistoryPage, EngineError>> {
        ready(Ok(HistoryPage::default()))
    }

    fn archive(&self, _: String, _archived: bool) -> BoxFuture<'_, Result<(), EngineError>> {
        ready(Ok(()))
    }

    fn exec(&self, _command: Command) -> BoxFuture<'_, Result<Process, EngineError>> {
        ready(not_scripted("exec"))
    }

    fn probe_mcp(
        &self,
        _server: McpServer,
        _cwd: PathBuf,
    ) -> BoxFuture<'_, Result<Vec<McpTool>, EngineError>> {
        ready(Ok(Vec::new()))
    }

    fn reserved_mcp_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn open_terminal(&self, _: TerminalSpec) -> BoxFuture<'_, Result<OpenTerminal, EngineError>> {
        ready(not_scripted("open_terminal"))
    }

    fn shutdown(&self, limit: Duration) -> BoxFuture<'_, usize> {
        let threads = self.state.lock().threads.clone();
        Box::pin(async move {
            let closes = threads.iter().map(|thread| tokio::time::timeout(limit, thread.close()));
            let closed = futures::future::join_all(closes).await;
            closed.iter().filter(|closed| closed.is_err()).count()
        })
    }
}
