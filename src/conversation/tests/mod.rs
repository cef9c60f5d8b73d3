//! Conversations over the scripted engine, with paused time.

mod eviction;
mod open;
mod pump;
mod queue;
mod rollback;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Engine;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Submission;
use codex_gateway_engine::ThreadSpec;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Semaphore;

use super::event_budget::EventBudget;
use super::handle::Conversation;
use super::handle::ResumeState;
use super::handle::Shared;
use super::id::ConversationKey;
use super::id::SessionId;
use super::limits::Limits;
use super::permitted::Permitted;
use super::record_status::RecordStatus;
use super::registry::Parts;
use super::registry::Registry;
use super::scripted::ScriptedEngine;
use super::scripted::ScriptedThread;
use super::sessions::Sessions;
use super::start_options::StartOptions;
use super::turn::IfBusy;
use super::turn::Turn;
use super::written_folders::WrittenFolders;
use crate::access::Keys;
use crate::access::owners::Owners;
use crate::bridge::credentials::Credentials;
use crate::bridge::in_flight::InFlight;
use crate::error::Error;
use crate::proxy::mcp_egress::EgressProxy;
use crate::shutdown::Shutdown;

/// The time limit of turns.
const LIMIT: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        default_timeout: LIMIT,
        prompt_limit_chars: 1000,
        max_running: 8,
        max_queued: 3,
        max_live: 10,
        idle: Duration::from_secs(3600),
        prestarted: 0,
        event_log_bytes: 1 << 20,
        max_event_log_bytes: 1 << 24,
        heartbeat: LIMIT,
    }
}

fn prompt(text: &str) -> Prompt {
    Prompt { text: text.to_owned(), ..Prompt::default() }
}

/// The event of a turn that core has interrupted.
fn aborted() -> Value {
    json!({ "type": "turn_aborted", "turn_id": null, "reason": "interrupted" })
}

/// One conversation without a registry.
struct OneConversation {
    conversation: Arc<Conversation>,
    thread: Arc<ScriptedThread>,
    shutdown: Shutdown,
}

impl OneConversation {
    async fn new() -> Self {
        Self::with(limits(), false).await
    }

    async fn with(limits: Limits, raw_events: bool) -> Self {
        Self::behind(None, limits, raw_events).await
    }

    /// A conversation whose tool servers are behind a proxy.
    async fn behind(egress: Option<EgressProxy>, limits: Limits, raw_events: bool) -> Self {
        let engine = ScriptedEngine::new();
        let thread = engine.start(ThreadSpec::default()).await.unwrap();
        let resumed = ResumeState {
            created_at: None,
            sandbox: Sandbox::WorkspaceWrite,
            approval_policy: Approval::Never,
            reduced: Vec::new(),
            owner: None,
        };
        let shutdown = Shutdown::default();
        let shared = Shared {
            calls: InFlight::default(),
            event_budget: EventBudget::new(limits.max_event_log_bytes),
            turn_slots: Arc::new(Semaphore::new(limits.max_running)),
            limits,
            raw_events,
            egress,
            shutdown: shutdown.clone(),
        };
        let conversation = Conversation::open(thread, SessionId::generate(), resumed, &shared);
        Self { conversation, thread: engine.thread(0), shutdown }
    }

    async fn prompt(&self, text: &str, if_busy: IfBusy) -> Result<Turn, Error> {
        self.conversation.prompt(prompt(text), LIMIT, if_busy).await
    }

    /// Starts a turn that core begins at once.
    async fn start(&self, text: &str) -> Turn {
        let turn = self.prompt(text, IfBusy::Reject).await.unwrap();
        assert_eq!(self.submitted_prompt().await.text, text);
        self.thread.begin_turn(&turn.id);
        turn
    }

    /// The next submission, which must be a prompt.
    async fn submitted_prompt(&self) -> Prompt {
        match self.thread.next_submission().await.submission {
            Submission::Prompt(prompt) => prompt,
            other => panic!("expected a prompt: {other:?}"),
        }
    }

    /// The id of the next submission, which must be an interrupt.
    async fn submitted_interrupt(&self) -> String {
        let submitted = self.thread.next_submission().await;
        assert!(matches!(submitted.submission, Submission::Interrupt), "{submitted:?}");
        submitted.id
    }

    /// Waits until core's turn of this id is the running one.
    async fn until_running(&self, id: &str) {
        while self.conversation.snapshot().turn_id.as_deref() != Some(id) {
            tokio::task::yield_now().await;
        }
    }
}

/// A registry over a scripted engine, in a folder of its own.
struct ManyConversations {
    registry: Arc<Registry>,
    engine: Arc<ScriptedEngine>,
    shutdown: Shutdown,
    dir: tempfile::TempDir,
}

impl ManyConversations {
    fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = ScriptedEngine::new();
        let shutdown = Shutdown::default();
        let root = dir.path().join("root");
        let registry = Registry::new(Parts {
            engine: Arc::clone(&engine) as Arc<dyn Engine>,
            sessions: Sessions::open(&dir.path().join("sessions.jsonl"), RecordStatus::default())
                .unwrap(),
            workspace_root: super::workspaces::prepare_root(&root).unwrap(),
            written_folders: WrittenFolders::open(
                &dir.path().join("folders"),
                RecordStatus::default(),
            )
            .unwrap(),
            calls: InFlight::default(),
            credentials: Credentials::default(),
            egress: None,
            limits,
            permitted: Permitted { danger_full_access: true, approvals: true },
            owners: Owners::new(&Keys::parse(["key=1", "other=2"]).unwrap()),
            raw_events: false,
            shutdown: shutdown.clone(),
        });
        Self { registry: Arc::new(registry), engine, shutdown, dir }
    }

    async fn prompt(&self, session: &str) -> Result<Turn, Error> {
        let options = StartOptions::new("key");
        let key = key(session);
        self.registry.prompt(&key, &options, prompt("hi"), LIMIT, IfBusy::Reject).await
    }

    /// Runs a turn of a session to its end, on the thread of this index.
    async fn run_turn(&self, session: &str, thread: usize) -> Turn {
        let turn = self.prompt(session).await.unwrap();
        self.engine.thread(thread).complete_turn(&turn.id, "done");
        turn.report().await.unwrap();
        turn
    }
}

fn key(session: &str) -> ConversationKey {
    SessionId::parse(session).unwrap().into()
}
