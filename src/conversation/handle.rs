//! [`Conversation`]: a cheap handle on one codex thread.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Approval;
use codex_gateway_engine::Closed;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Thread;
use tokio::sync::OnceCell;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::event_budget::EventBudget;
use super::id::ConversationId;
use super::id::SessionId;
use super::id::TurnId;
use super::limits::Limits;
use super::log::EventLog;
use super::permitted;
use super::permitted::ReducedSetting;
use super::pump;
use super::settings::Settings;
use super::span::TurnFacts;
use super::span::TurnSpan;
use super::state::Snapshot;
use super::state::State;
use super::state::TurnSummary;
use crate::bridge::in_flight::InFlight;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::mcp_egress::EgressProxy;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::telemetry::metrics;

/// One conversation.
pub struct Conversation {
    pub(super) id: ConversationId,
    pub(super) session_id: SessionId,
    pub(super) cwd: PathBuf,
    pub(super) model_provider: String,
    /// The name of the key that started it; absent where there were no owners yet.
    pub(super) owner: Option<String>,
    /// The settings of a prompt that chooses none.
    pub(super) defaults: Settings,
    /// The recorded settings that the operator does not permit any more.
    pub(super) reduced: Vec<ReducedSetting>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) thread: Arc<dyn Thread>,
    pub(super) calls: InFlight,
    pub(super) log: Arc<EventLog>,
    /// One turn at a time.
    pub(super) slot: Arc<Semaphore>,
    /// Bounds the running turns of all conversations, by their largest number.
    pub(super) turn_slots: Arc<Semaphore>,
    pub(super) max_running: usize,
    /// Bounds the queued prompts.
    pub(super) queued: Semaphore,
    /// The one queued prompt that waits for the slot. Fair: prompts start in the order in which
    /// they came.
    pub(super) queue_head: Semaphore,
    /// The time limit of turns that core starts by itself.
    pub(super) own_turn_limit: Duration,
    state: Mutex<State>,
    thread_closed: OnceCell<()>,
    /// Cancelled when the thread did not end in time: no event follows.
    pub(super) abandoned: CancellationToken,
    /// Its place among the live conversations.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    pub(super) shutdown: Shutdown,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The parts that all conversations share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) calls: InFlight,
    pub(super) limits: Limits,
    pub(super) event_budget: Arc<EventBudget>,
    /// A permit for each turn that may run.
    pub(super) turn_slots: Arc<Semaphore>,
    /// Whether the log keeps the events that carry the system prompt.
    pub(super) raw_events: bool,
    /// The proxy whose URLs are not for clients.
    pub(super) egress: Option<EgressProxy>,
    pub(super) shutdown: Shutdown,
}

/// State of a conversation that its thread does not report.
#[derive(Debug, Clone)]
pub(super) struct ResumeState {
    /// The start, if it was in an earlier process.
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) sandbox: Sandbox,
    pub(super) approval_policy: Approval,
    /// The recorded settings that the operator does not permit any more.
    pub(super) reduced: Vec<ReducedSetting>,
    /// The name of the key that started it.
    pub(super) owner: Option<String>,
}

impl Conversation {
    /// Takes over a thread and starts to read its events.
    pub(super) fn open(
        thread: Arc<dyn Thread>,
        session_id: SessionId,
        resumed: ResumeState,
        shared: &Shared,
    ) -> Arc<Self> {
        let Shared { calls, limits, event_budget, turn_slots, raw_events, egress, shutdown } =
            shared;
        let facts = thread.facts().clone();
        let id = ConversationId::new(&facts.id);
        let now = Utc::now();
        let ResumeState { created_at, sandbox, approval_policy, reduced, owner } = resumed;
        let defaults = Settings { model: facts.model, sandbox, approval_policy };
        let conversation = Arc::new(Self {
            log: EventLog::new(&id, limits.event_log_bytes, event_budget),
            id,
            session_id,
            cwd: facts.cwd,
            model_provider: facts.model_provider,
            owner,
            state: Mutex::new(State::new(defaults.clone(), now)),
            defaults,
            reduced,
            created_at: created_at.unwrap_or(now),
            thread,
            calls: calls.clone(),
            slot: Arc::new(Semaphore::new(1)),
            turn_slots: Arc::clone(turn_slots),
            max_running: limits.max_running,
            queued: Semaphore::new(limits.max_queued),
            queue_head: Semaphore::new(1),
            own_turn_limit: limits.default_timeout,
            thread_closed: OnceCell::new(),
            abandoned: CancellationToken::new(),
            place: Mutex::default(),
            shutdown: shutdown.clone(),
        });
        if !conversation.reduced.is_empty() {
            // The first event, which the stream of the first turn includes.
            let event = permitted::event(&conversation.reduced);
            conversation.log.append(event.as_bytes(), None);
        }
        conversation.report_damage(facts.damaged_lines);
        shutdown.spawn(pump::run(Arc::clone(&conversation), *raw_events, egress.clone()));
        conversation
    }

    /// Codex's thread id.
    pub fn id(&self) -> &ConversationId {
        &self.id
    }

    /// The session's name, chosen by the client or generated.
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// The working folder.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The id of the model's provider.
    pub fn model_provider(&self) -> &str {
        &self.model_provider
    }

    /// The name of the key that started it; `None` where there were no owners yet.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The time of its start.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// The settings of a prompt that chooses none.
    pub fn defaults(&self) -> &Settings {
        &self.defaults
    }

    /// The recorded settings that the operator does not permit any more.
    pub fn reduced(&self) -> &[ReducedSetting] {
        &self.reduced
    }

    /// The event log.
    pub fn log(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// The outcome of a turn, if it has ended and is one of the newest.
    pub fn turn_summary(&self, turn_id: &TurnId) -> Option<TurnSummary> {
        self.lock().summaries.iter().find(|summary| summary.turn_id == *turn_id).cloned()
    }

    /// The changes of the newest turn so far, as a unified diff.
    pub fn diff(&self) -> Option<(TurnId, String)> {
        self.lock().diff.clone()
    }

    /// The visible state at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot {
            activity: state.activity(),
            turn_id: state.running.as_ref().map(|running| running.id.clone()),
            model: state.settings.model.clone(),
            updated_at: state.updated_at,
            usage: state.usage.clone(),
        }
    }

    /// Marks the conversation as closed if it has been idle since then, so that no turn starts any
    /// more. Returns whether it did.
    pub(super) fn close_if_idle(&self, since: DateTime<Utc>) -> bool {
        let mut state = self.lock();
        let idle = state.running.is_none() && state.updated_at < since;
        state.closed |= idle;
        idle
    }

    /// Ends the thread: its history goes to disk, its readers end. Concurrent callers wait for the
    /// same close, because the history must be complete before the conversation is resumed.
    pub(super) async fn close(&self) {
        self.lock().closed = true;
        self.calls.stop(self.id.as_str());
        self.thread_closed.get_or_init(|| self.end_thread()).await;
    }

    async fn end_thread(&self) {
        if self.thread.close().await == Closed::Abandoned {
            metrics().abandoned.add(1, &[]);
            tracing::error!(
                conversation = %self.id, session_id = %self.session_id,
                "the conversation did not end in time, because a tool server or a hook hangs: it \
                 was given up, its history is on disk"
            );
            self.abandoned.cancel();
        }
    }

    /// Whether its thread has ended, or was given up.
    pub(super) fn has_ended(&self) -> bool {
        self.thread_closed.initialized()
    }

    /// Holds its place among the live conversations until [`Self::leave`].
    pub(super) fn take_place(&self, place: OwnedSemaphorePermit) {
        *self.place.lock() = Some(place);
    }

    /// Gives its place back.
    pub(super) fn leave(&self) {
        self.place.lock().take();
    }

    /// Tells clients that a part of the history is lost.
    fn report_damage(&self, lines: usize) {
        if lines == 0 {
            return;
        }
        let message = format!(
            "{lines} damaged lines of this conversation's recording were removed: the model and the \
             history may lack a part of it; the file as it was is kept"
        );
        // Written by hand because readers of the log expect the tag first.
        let message = serde_json::Value::from(message);
        let json = format!(r#"{{"id":"","msg":{{"type":"warning","message":{message}}}}}"#);
        self.log.append(json.as_bytes(), None);
    }

    /// Begins the span of a turn. From here on, model calls are traced below it.
    pub(super) fn begin_span(&self, turn: &TurnId, model: &str, prompt: Option<&str>) -> TurnSpan {
        let span = TurnSpan::begin(TurnFacts {
            conversation: self.id.as_str(),
            turn,
            provider: &self.model_provider,
            model,
            prompt,
        });
        self.calls.trace(self.id.as_str(), span.context());
        span
    }

    /// The error of a conversation that has ended.
    pub(super) fn ended(&self) -> Error {
        Error::new(Kind::NotFound, format!("conversation {} has ended", self.id))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
