//! A conversation: a cheap handle on one codex thread, its event log and its turn.
//!
//! - [`registry`]: which conversations there are, and which session names belong to them; `pool`: those
//!   that nobody has asked for yet; `rest` and `shelf`: those that are not live;
//! - [`log`]: the numbered events; [`report`]: what a turn amounted to;
//! - `pump`: the one task that reads core's events; `keeper`: the one task per turn that may stop it;
//! - `turn`: what is begun; [`approvals`]: what the agent asks;
//! - [`servers`]: which tool servers they have; [`workspace`]: where a conversation works.

pub mod approvals;
mod conversation_ref;
pub mod id;
mod keeper;
pub mod limits;
pub mod log;
mod model_choice;
mod pool;
mod pump;
pub mod registry;
pub mod report;
mod rest;
#[cfg(test)]
pub(crate) mod scripted;
pub mod servers;
pub(crate) mod sessions;
mod shelf;
pub(crate) mod span;
mod start_options;
mod turn;
pub mod workspace;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Thread;
use codex_gateway_engine::protocol::TokenUsage;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::approvals::Pending;
pub use self::conversation_ref::ConversationRef;
use self::id::ConversationId;
use self::id::SessionId;
use self::id::TurnId;
use self::log::EventLog;
pub use self::model_choice::ModelChoice;
use self::report::Draft;
use self::report::Report;
use self::report::Status;
pub use self::start_options::StartOptions;
pub use self::turn::IfBusy;
pub use self::turn::Turn;
use crate::bridge::in_flight::InFlight;
use crate::conversation::span::Facts;
use crate::conversation::span::TurnSpan;
use crate::error::Error;
use crate::error::Kind;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;

/// Of how many turns a conversation knows what they came to.
const KEPT_ENDINGS: usize = 16;

/// One conversation.
pub struct Conversation {
    id: ConversationId,
    session_id: SessionId,
    cwd: PathBuf,
    model_provider: String,
    /// What a prompt gets that does not choose for itself.
    defaults: Defaults,
    created_at: DateTime<Utc>,
    thread: Arc<dyn Thread>,
    calls: InFlight,
    log: Arc<EventLog>,
    /// One turn at a time. Fair: prompts that wait get their turn in the order they came.
    slot: Arc<Semaphore>,
    /// The time limit of turns that core starts itself.
    own_turn_limit: Duration,
    waiting: Arc<Semaphore>,
    state: Mutex<State>,
    closing: OnceCell<()>,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What was chosen when a conversation started; a prompt that chooses otherwise does so for its own
/// turn only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    /// Model slug.
    pub model: String,
    /// What commands may touch.
    pub sandbox: Sandbox,
    /// When core asks before it acts.
    pub approval_policy: Approval,
}

#[derive(Debug)]
struct State {
    running: Option<Running>,
    usage: Option<TokenUsage>,
    /// What core goes by: the choices of the last turn.
    settings: Defaults,
    updated_at: DateTime<Utc>,
    has_had_turns: bool,
    /// What the agent has asked and nobody answered yet.
    questions: Vec<Pending>,
    /// A submission that is no turn, whose outcome somebody waits for.
    awaited: Option<(TurnId, oneshot::Sender<Result<(), String>>)>,
    /// What the newest turn has changed so far, as a unified diff.
    diff: Option<(TurnId, String)>,
    /// What the newest turns came to, newest first.
    ended: VecDeque<Ending>,
    closed: bool,
}

/// The turn that is running.
#[derive(Debug)]
struct Running {
    id: TurnId,
    started: Instant,
    /// The id under which core runs it, once it has said so: from here on, only core says that it
    /// ended. It is another than `id` where core had started a turn of its own (a goal, a
    /// sub-agent's report) a moment before, and took the prompt into it.
    core_id: Option<String>,
    draft: Draft,
    trace: TurnSpan,
    /// Why it was told to stop.
    stopped: Option<Stop>,
    stop: CancellationToken,
    report: watch::Sender<Option<Arc<Report>>>,
    /// Shared with the keeper, so that an interrupt cannot hit the next turn.
    slot: Option<Arc<OwnedSemaphorePermit>>,
}

/// Why a turn is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its time is up.
    TimedOut,
    /// A client said so, or left one that it had tied to its connection.
    Cancelled,
    /// The process is going.
    Draining,
}

/// What a conversation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Nothing.
    Idle,
    /// A turn.
    Running,
    /// A turn that waits for an answer to what it asked.
    WaitingApproval,
    /// It has ended.
    Closed,
}

/// What a turn came to, in short.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The turn.
    pub turn_id: TurnId,
    /// How it ended.
    pub status: Status,
    /// The agent's last message.
    pub summary: String,
    /// Paths relative to the conversation's folder.
    pub files_created: Vec<String>,
}

impl Ending {
    fn of(report: &Report) -> Self {
        Self {
            turn_id: report.turn_id.clone(),
            status: report.status,
            summary: report.message.clone(),
            files_created: report.created(),
        }
    }
}

impl Conversation {
    /// Takes a thread over: from here on, its events are read by this conversation's pump.
    fn open(
        thread: Arc<dyn Thread>,
        session_id: SessionId,
        resumed: ResumeState,
        calls: InFlight,
        limits: &limits::Limits,
        shutdown: &Shutdown,
        raw_events: bool,
    ) -> Arc<Self> {
        let facts = thread.facts().clone();
        let id = ConversationId::new(&facts.id);
        let now = Utc::now();
        let ResumeState { created_at, sandbox, approval_policy } = resumed;
        let conversation = Arc::new(Self {
            log: EventLog::new(&id, limits.event_log_bytes),
            id,
            session_id,
            cwd: facts.cwd,
            model_provider: facts.model_provider,
            defaults: Defaults { model: facts.model.clone(), sandbox, approval_policy },
            created_at: created_at.unwrap_or(now),
            thread,
            calls,
            slot: Arc::new(Semaphore::new(1)),
            own_turn_limit: limits.default_timeout,
            waiting: Arc::new(Semaphore::new(limits.max_queued)),
            state: Mutex::new(State {
                running: None,
                usage: None,
                settings: Defaults { model: facts.model, sandbox, approval_policy },
                updated_at: now,
                has_had_turns: false,
                questions: Vec::new(),
                awaited: None,
                diff: None,
                ended: VecDeque::new(),
                closed: false,
            }),
            closing: OnceCell::new(),
            shutdown: shutdown.clone(),
        });
        shutdown.spawn(pump::run(Arc::clone(&conversation), raw_events));
        conversation
    }

    /// Codex's thread id.
    pub fn id(&self) -> &ConversationId {
        &self.id
    }

    /// The name that a client chose, or that was chosen for it.
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// The folder it works in.
    pub fn cwd(&self) -> &std::path::Path {
        &self.cwd
    }

    /// The id of the model's provider.
    pub fn model_provider(&self) -> &str {
        &self.model_provider
    }

    /// When it began.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// What a turn came to, where it has ended and is one of the newest.
    pub fn ending(&self, turn_id: &TurnId) -> Option<Ending> {
        self.lock().ended.iter().find(|ending| ending.turn_id == *turn_id).cloned()
    }

    /// What the newest turn has changed so far, as a unified diff.
    pub fn diff(&self) -> Option<(TurnId, String)> {
        self.lock().diff.clone()
    }

    /// What a prompt gets that does not choose for itself.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Its events.
    pub fn log(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// What can be seen of it at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot {
            activity: match (&state.running, state.closed) {
                (_, true) => Activity::Closed,
                (Some(_), false) if !state.questions.is_empty() => Activity::WaitingApproval,
                (Some(_), false) => Activity::Running,
                (None, false) => Activity::Idle,
            },
            turn_id: state.running.as_ref().map(|running| running.id.clone()),
            model: state.settings.model.clone(),
            updated_at: state.updated_at,
            usage: state.usage.clone(),
        }
    }

    /// Tells the running turn to stop: any, or only this one. Returns it, if it was running.
    pub fn stop(self: &Arc<Self>, only: Option<&TurnId>) -> Option<Turn> {
        let state = self.lock();
        let running = state.running.as_ref()?;
        if only.is_some_and(|only| *only != running.id) {
            return None;
        }
        running.stop.cancel();
        Some(Turn {
            conversation: Arc::clone(self),
            id: running.id.clone(),
            after: self.log.last_seq(),
            report: running.report.subscribe(),
        })
    }

    /// Ends the conversation if nothing runs in it: no prompt starts from here on. Says whether.
    fn retire(&self, idle_since: DateTime<Utc>) -> bool {
        let mut state = self.lock();
        let idle = state.running.is_none() && state.updated_at < idle_since;
        state.closed |= idle;
        idle
    }

    /// The session is over: its history goes to disk, its readers end. Whoever comes second waits for
    /// that: a history must not be taken up again before it has been put down.
    async fn close(&self) {
        self.lock().closed = true;
        self.calls.stop(self.id.as_str());
        self.closing.get_or_init(|| self.thread.close()).await;
    }

    /// What operators see of a turn, from here on; model calls are traced below it.
    fn trace(&self, turn: &TurnId, model: &str, prompt: Option<&str>) -> TurnSpan {
        let trace = TurnSpan::begin(Facts {
            conversation: self.id.as_str(),
            turn,
            provider: &self.model_provider,
            model,
            prompt,
        });
        self.calls.trace(self.id.as_str(), trace.context());
        trace
    }

    fn gone(&self) -> Error {
        Error::new(Kind::NotFound, format!("conversation {} has ended", self.id))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// What a conversation brings along that its thread does not say.
#[derive(Debug, Clone, Copy)]
struct ResumeState {
    /// When it began, if that was in an earlier process.
    created_at: Option<DateTime<Utc>>,
    sandbox: Sandbox,
    approval_policy: Approval,
}

/// What can be seen of a conversation at a moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What it is doing.
    pub activity: Activity,
    /// The turn that is running.
    pub turn_id: Option<TurnId>,
    /// The model in use.
    pub model: String,
    /// When something last happened.
    pub updated_at: DateTime<Utc>,
    /// Tokens of all turns together.
    pub usage: Option<TokenUsage>,
}

/// How a turn that core says is over ended, as the caller sees it.
fn status_of(stopped: Option<Stop>, aborted: bool, failed: bool) -> Status {
    match (stopped, aborted, failed) {
        (Some(Stop::TimedOut), true, _) => Status::TimedOut,
        (_, true, _) => Status::Cancelled,
        (_, false, true) => Status::Failed,
        (_, false, false) => Status::Completed,
    }
}
