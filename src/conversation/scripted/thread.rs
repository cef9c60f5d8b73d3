//! A thread of the scripted engine.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use codex_gateway_engine::BoxFuture;
use codex_gateway_engine::Closed;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::Submission;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadFacts;
use codex_gateway_engine::TraceContext;
use codex_gateway_engine::mcp::McpServer;
use codex_gateway_engine::mcp::McpState;
use codex_gateway_engine::protocol::Event;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc;

use super::gate::Gate;
use super::gate::Hold;
use crate::sync::Mutex;

/// A submission as the thread received it.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) id: String,
    pub(crate) submission: Submission,
}

/// A thread that yields the events that a test pushes.
pub(crate) struct ScriptedThread {
    facts: ThreadFacts,
    events: Queue<Event>,
    submissions: Queue<Submitted>,
    submission_errors: Mutex<VecDeque<EngineError>>,
    submission_gate: Gate,
    close_gate: Gate,
    closed: AtomicBool,
    does_not_end: AtomicBool,
}

/// An unbounded queue with both ends in one place.
struct Queue<T>(mpsc::UnboundedSender<T>, AsyncMutex<mpsc::UnboundedReceiver<T>>);

impl<T> Queue<T> {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self(sender, AsyncMutex::new(receiver))
    }

    fn push(&self, item: T) {
        // The receiver lives in the same queue.
        let _ = self.0.send(item);
    }

    async fn next(&self) -> Option<T> {
        self.1.lock().await.recv().await
    }
}

impl ScriptedThread {
    pub(super) fn new(facts: ThreadFacts) -> Self {
        Self {
            facts,
            events: Queue::new(),
            submissions: Queue::new(),
            submission_errors: Mutex::default(),
            submission_gate: Gate::new(),
            close_gate: Gate::new(),
            closed: AtomicBool::default(),
            does_not_end: AtomicBool::default(),
        }
    }

    /// Pushes an event: `msg` is core's JSON, `{"type":…}`, and `id` the submission that caused it.
    pub(crate) fn push(&self, id: &str, msg: Value) {
        let event = serde_json::from_value(json!({ "id": id, "msg": msg }));
        self.events.push(event.expect("msg is an event of core"));
    }

    /// Pushes the first event of a turn.
    pub(crate) fn begin_turn(&self, id: &str) {
        self.push(id, json!({ "type": "task_started", "turn_id": id }));
    }

    /// Pushes the last event of a turn.
    pub(crate) fn complete_turn(&self, id: &str, message: &str) {
        let done = json!({ "type": "task_complete", "turn_id": id, "last_agent_message": message });
        self.push(id, done);
    }

    /// Waits for the next submission, in order, including held and failed ones.
    pub(crate) async fn next_submission(&self) -> Submitted {
        self.submissions.next().await.expect("the queue is never closed")
    }

    /// Holds submissions: they arrive here, but their callers wait.
    pub(crate) fn hold_submissions(&self) -> Hold {
        self.submission_gate.hold()
    }

    /// Fails the next submission. Several errors queue up.
    pub(crate) fn fail_next_submission(&self, error: EngineError) {
        self.submission_errors.lock().push_back(error);
    }

    /// Makes closing the thread hang.
    pub(crate) fn hold_close(&self) -> Hold {
        self.close_gate.hold()
    }

    /// Makes the engine give the thread up when it is closed.
    pub(crate) fn never_end(&self) {
        self.does_not_end.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl Thread for ScriptedThread {
    fn facts(&self) -> &ThreadFacts {
        &self.facts
    }

    fn submit(
        &self,
        id: String,
        submission: Submission,
        _trace: Option<TraceContext>,
    ) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            self.submissions.push(Submitted { id, submission });
            self.submission_gate.pass().await;
            let error = self.submission_errors.lock().pop_front();
            error.map_or(Ok(()), Err)
        })
    }

    fn set_mcp_servers(&self, _servers: Vec<McpServer>) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn mcp_states(&self) -> HashMap<String, McpState> {
        HashMap::new()
    }

    fn next_event(&self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(self.events.next())
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) -> BoxFuture<'_, Closed> {
        Box::pin(async move {
            self.close_gate.pass().await;
            if self.does_not_end.load(Ordering::Acquire) {
                return Closed::Abandoned;
            }
            if !self.closed.swap(true, Ordering::AcqRel) {
                self.push("", json!({ "type": "shutdown_complete" }));
            }
            Closed::Ended
        })
    }
}
