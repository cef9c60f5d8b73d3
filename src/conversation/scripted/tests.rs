//! The scripted engine under a conversation.

use codex_gateway_engine::Approval;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Submission;
use serde_json::json;
use tokio::sync::Semaphore;

use super::*;
use crate::bridge::in_flight::InFlight;
use crate::conversation::Activity;
use crate::conversation::Conversation;
use crate::conversation::IfBusy;
use crate::conversation::Turn;
use crate::conversation::event_budget::EventBudget;
use crate::conversation::handle::ResumeState;
use crate::conversation::handle::Shared;
use crate::conversation::id::SessionId;
use crate::conversation::limits::Limits;
use crate::conversation::log::Read;
use crate::conversation::report::TurnStatus;
use crate::error::Error;
use crate::shutdown::Shutdown;

const LIMIT: Duration = Duration::from_secs(60);

async fn conversation(engine: &ScriptedEngine) -> Arc<Conversation> {
    let limits = Limits {
        default_timeout: LIMIT,
        prompt_limit_chars: 1000,
        max_running: 8,
        max_queued: 1,
        max_live: 1,
        idle: LIMIT,
        prestarted: 0,
        event_log_bytes: 1 << 20,
        max_event_log_bytes: 1 << 24,
        heartbeat: LIMIT,
    };
    let resumed = ResumeState {
        created_at: None,
        sandbox: Sandbox::WorkspaceWrite,
        approval_policy: Approval::Never,
        reduced: Vec::new(),
        owner: None,
    };
    let thread = engine.start(ThreadSpec::default()).await.unwrap();
    let session_id = SessionId::parse("s").unwrap();
    let (calls, shutdown) = (InFlight::default(), Shutdown::default());
    let event_budget = EventBudget::new(limits.max_event_log_bytes);
    let turn_slots = Arc::new(Semaphore::new(limits.max_running));
    let shared = Shared {
        calls,
        limits,
        event_budget,
        turn_slots,
        raw_events: false,
        egress: None,
        shutdown,
    };
    Conversation::open(thread, session_id, resumed, &shared)
}

async fn prompt(conversation: &Arc<Conversation>) -> Result<Turn, Error> {
    let prompt = Prompt { text: "hi".to_owned(), ..Prompt::default() };
    conversation.prompt(prompt, LIMIT, IfBusy::Reject).await
}

#[tokio::test(start_paused = true)]
async fn pushed_events_come_out_of_the_log() {
    let engine = ScriptedEngine::new();
    let conversation = conversation(&engine).await;
    let turn = prompt(&conversation).await.unwrap();
    let thread = engine.thread(0);
    let submitted = thread.next_submission().await;
    assert_eq!(submitted.id, *turn.id);
    assert!(matches!(submitted.submission, Submission::Prompt(prompt) if prompt.text == "hi"));
    thread.begin_turn(&turn.id);
    thread.push(&turn.id, json!({ "type": "agent_message", "message": "hello" }));
    thread.complete_turn(&turn.id, "hello");
    let report = turn.report().await.unwrap();
    assert_eq!((report.status, report.message.as_str()), (TurnStatus::Completed, "hello"));
    let Read::Events(entries) = turn.cursor().read() else { panic!("expected events") };
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind()).collect();
    assert_eq!(kinds, ["task_started", "agent_message", "task_complete"]);
}

#[tokio::test(start_paused = true)]
async fn held_submission_keeps_its_turn_running() {
    let engine = ScriptedEngine::new();
    let conversation = conversation(&engine).await;
    let thread = engine.thread(0);
    let hold = thread.hold_submissions();
    let mut held = std::pin::pin!(prompt(&conversation));
    assert!(futures::poll!(&mut held).is_pending());
    thread.next_submission().await;
    assert_eq!(conversation.snapshot().activity, Activity::Running);
    drop(hold);
    held.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn scripted_errors_fail_start_and_submission() {
    let engine = ScriptedEngine::new();
    engine.fail_next_start(EngineError::Rejected("no start".to_owned()));
    let failed = engine.start(ThreadSpec::default()).await.err().unwrap();
    assert_eq!(failed.to_string(), "no start");
    let conversation = conversation(&engine).await;
    engine.thread(0).fail_next_submission(EngineError::Rejected("no prompt".to_owned()));
    assert!(prompt(&conversation).await.unwrap_err().to_string().contains("no prompt"));
    assert_eq!(conversation.snapshot().activity, Activity::Idle);
}

#[tokio::test(start_paused = true)]
async fn shutdown_counts_threads_that_hang() {
    let engine = ScriptedEngine::new();
    for _ in 0..2 {
        engine.start(ThreadSpec::default()).await.unwrap();
    }
    let _hold = engine.thread(1).hold_close();
    assert_eq!(engine.shutdown(LIMIT).await, 1);
    assert!(engine.thread(0).is_closed());
    assert!(!engine.thread(1).is_closed());
}
