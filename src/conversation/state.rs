//! The state of a conversation, under one lock: its running turn, and the outcome of the last ones.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::protocol::TokenUsage;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::approvals::PendingRequest;
use super::id::TurnId;
use super::report::TurnReport;
use super::report::TurnStatus;
use super::report_builder::ReportBuilder;
use super::rollback::RollbackReply;
use super::settings::Settings;
use super::span::TurnSpan;

/// The number of finished turns that a conversation remembers.
const KEPT_SUMMARIES: usize = 16;

/// The activity of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// No turn is running.
    Idle,
    /// A turn is running.
    Running,
    /// A turn is running and waits for an approval.
    WaitingApproval,
    /// The conversation has ended.
    Closed,
}

/// The visible state of a conversation at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The activity.
    pub activity: Activity,
    /// The running turn.
    pub turn_id: Option<TurnId>,
    /// The model in use.
    pub model: String,
    /// The time of the last event.
    pub updated_at: DateTime<Utc>,
    /// Tokens of all turns together.
    pub usage: Option<TokenUsage>,
}

/// The outcome of a turn, in short.
#[derive(Debug, Clone)]
pub struct TurnSummary {
    /// The turn.
    pub turn_id: TurnId,
    /// How it ended.
    pub status: TurnStatus,
    /// The agent's last message.
    pub summary: String,
    /// Paths relative to the conversation's folder.
    pub files_created: Vec<String>,
}

impl TurnSummary {
    fn new(report: &TurnReport) -> Self {
        Self {
            turn_id: report.turn_id.clone(),
            status: report.status,
            summary: report.message.clone(),
            files_created: report.created(),
        }
    }
}

/// The state of a conversation.
#[derive(Debug)]
pub(super) struct State {
    pub(super) running: Option<RunningTurn>,
    /// Tokens of all turns together.
    pub(super) usage: Option<TokenUsage>,
    /// The settings that core uses: those of the last turn.
    pub(super) settings: Settings,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) has_had_turns: bool,
    /// Unanswered requests of the agent, oldest first.
    pub(super) pending: Vec<PendingRequest>,
    /// The rollback that core has not confirmed yet.
    pub(super) rollback: Option<RollbackReply>,
    /// The changes of the newest turn so far, as a unified diff.
    pub(super) diff: Option<(TurnId, String)>,
    /// The newest finished turns, newest first.
    pub(super) summaries: VecDeque<TurnSummary>,
    /// No turn starts any more.
    pub(super) closed: bool,
}

impl State {
    pub(super) fn new(settings: Settings, now: DateTime<Utc>) -> Self {
        Self {
            running: None,
            usage: None,
            settings,
            updated_at: now,
            has_had_turns: false,
            pending: Vec::new(),
            rollback: None,
            diff: None,
            summaries: VecDeque::new(),
            closed: false,
        }
    }

    pub(super) fn activity(&self) -> Activity {
        match (&self.running, self.closed) {
            (_, true) => Activity::Closed,
            (Some(_), false) if !self.pending.is_empty() => Activity::WaitingApproval,
            (Some(_), false) => Activity::Running,
            (None, false) => Activity::Idle,
        }
    }

    /// The running turn, if it is this one.
    pub(super) fn running(&mut self, turn_id: &TurnId) -> Option<&mut RunningTurn> {
        self.running.as_mut().filter(|running| running.id == *turn_id)
    }

    /// Remembers the outcome of a turn, and forgets the oldest one.
    pub(super) fn remember(&mut self, report: &TurnReport) {
        self.summaries.truncate(KEPT_SUMMARIES - 1);
        self.summaries.push_front(TurnSummary::new(report));
    }
}

/// The running turn.
#[derive(Debug)]
pub(super) struct RunningTurn {
    pub(super) id: TurnId,
    pub(super) started: Instant,
    /// The id under which core runs the turn, once core has reported its start. From then on only
    /// core reports its end. It differs from `id` if core had just started a turn of its own (a
    /// goal, a sub-agent's report) and merged the prompt into that.
    pub(super) core_id: Option<String>,
    pub(super) report: ReportBuilder,
    pub(super) span: TurnSpan,
    /// Why the supervisor interrupted the turn.
    pub(super) stop_reason: Option<StopReason>,
    /// Asks the supervisor to interrupt the turn.
    pub(super) interrupt: CancellationToken,
    /// Asks the supervisor to end the turn, because a volume is nearly full.
    pub(super) out_of_space: CancellationToken,
    pub(super) reports: watch::Sender<Option<Arc<TurnReport>>>,
    /// Shared with the supervisor, so that an interrupt cannot hit the next turn. A turn that core
    /// started by itself has none until the next prompt hands over its own.
    pub(super) slot: Option<Arc<OwnedSemaphorePermit>>,
    /// Its place among the running turns of all conversations. A turn that core started by itself may
    /// have none.
    pub(super) turn_slot: Option<OwnedSemaphorePermit>,
}

impl RunningTurn {
    pub(super) fn new(
        id: TurnId,
        usage: Option<TokenUsage>,
        span: TurnSpan,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            id,
            started: Instant::now(),
            core_id: None,
            report: ReportBuilder::new(usage),
            span,
            stop_reason: None,
            interrupt: CancellationToken::new(),
            out_of_space: CancellationToken::new(),
            reports: watch::Sender::new(None),
            slot: slot.map(Arc::new),
            turn_slot: None,
        }
    }

    /// Whether an event under this submission id belongs to the turn.
    pub(super) fn owns(&self, event_id: &str) -> bool {
        match &self.core_id {
            Some(core_id) => core_id == event_id,
            None => *self.id == *event_id,
        }
    }
}

/// Why a turn is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Its time limit has passed.
    TimedOut,
    /// A client interrupted it, or left a turn that was bound to its connection.
    Cancelled,
    /// A volume is nearly full.
    OutOfSpace,
    /// The process drains.
    Draining,
}

/// The status of a turn that core has ended.
pub(super) fn turn_status(
    stop_reason: Option<StopReason>,
    aborted: bool,
    failed: bool,
) -> TurnStatus {
    match (stop_reason, aborted, failed) {
        (Some(StopReason::TimedOut), true, _) => TurnStatus::TimedOut,
        (Some(StopReason::OutOfSpace), true, _) => TurnStatus::Failed,
        (_, true, _) => TurnStatus::Cancelled,
        (_, false, true) => TurnStatus::Failed,
        (_, false, false) => TurnStatus::Completed,
    }
}
