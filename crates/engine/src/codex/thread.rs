//! [`Thread`] on core: one live conversation.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use codex_core::NewThread;
use codex_core::SteerInputError;
use codex_core::ThreadManager;
use codex_protocol::ThreadId;
use codex_protocol::protocol::Event;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::Op;
use codex_protocol::protocol::ReviewRequest;
use codex_protocol::protocol::ReviewTarget;
use codex_protocol::protocol::Submission as CoreSubmission;
use codex_protocol::protocol::ThreadSettingsOverrides;
use codex_protocol::protocol::W3cTraceContext;
use codex_protocol::user_input::UserInput;
use tokio::sync::Mutex;
use tokio::sync::mpsc;

use super::config::ask_for_approval;
use super::errors::engine_error;
use super::mcp;
use super::permissions::Permissions;
use super::store::MergingStore;
use crate::BoxFuture;
use crate::Closed;
use crate::EngineError;
use crate::Prompt;
use crate::Review;
use crate::Submission;
use crate::Thread;
use crate::ThreadFacts;
use crate::ThreadSpec;
use crate::TraceContext;
use crate::children::Children;
use crate::mcp::McpServer;
use crate::mcp::McpState;

/// The time for a conversation to end, its tool servers and hooks included.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// The time to close the recording of one that did not end.
const ABANDON_LIMIT: Duration = Duration::from_secs(5);

/// What holds a thread in core.
pub(super) struct Owner {
    pub(super) manager: Arc<ThreadManager>,
    pub(super) store: MergingStore,
    pub(super) children: Arc<Children>,
}

pub(super) struct CodexThread {
    facts: ThreadFacts,
    id: ThreadId,
    owner: Owner,
    thread: Arc<codex_core::CodexThread>,
    /// Behind a lock because receiving needs `&mut`; only the pump takes it.
    extension_events: Mutex<mpsc::Receiver<Box<Event>>>,
    permissions: Permissions,
    mcp: mcp::servers::Servers,
}

impl CodexThread {
    pub(super) fn new(
        owner: Owner,
        started: NewThread,
        extension_events: mpsc::Receiver<Box<Event>>,
        spec: &ThreadSpec,
        permissions: Permissions,
        damaged_lines: usize,
    ) -> Self {
        let facts = ThreadFacts {
            id: started.thread_id.to_string(),
            model: started.session_configured.model.clone(),
            model_provider: started.session_configured.model_provider_id.clone(),
            cwd: spec.cwd.clone(),
            damaged_lines,
        };
        Self {
            facts,
            id: started.thread_id,
            owner,
            thread: started.thread,
            extension_events: Mutex::new(extension_events),
            permissions,
            mcp: mcp::servers::Servers::new(&spec.mcp_servers),
        }
    }

    async fn refresh_mcp(&self) -> Result<(), EngineError> {
        let refresh = self.mcp.refresh(&self.thread).await?;
        self.submit_op(format!("mcp-{}", self.id), refresh, None).await
    }

    async fn submit_op(
        &self,
        id: String,
        op: Op,
        trace: Option<TraceContext>,
    ) -> Result<(), EngineError> {
        let trace = trace.map(core_trace);
        let submission = CoreSubmission { id, op, client_user_message_id: None, trace };
        self.thread.submit_with_id(submission).await.map_err(engine_error)
    }
}

impl Thread for CodexThread {
    fn facts(&self) -> &ThreadFacts {
        &self.facts
    }

    fn submit(
        &self,
        id: String,
        submission: Submission,
        trace: Option<TraceContext>,
    ) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            match submission {
                Submission::Prompt(prompt) => {
                    if self.mcp.take_stale() {
                        self.refresh_mcp().await?;
                    }
                    self.submit_op(id, prompt_op(prompt, &self.permissions, trace.as_ref()), trace)
                        .await
                }
                Submission::Answer(request, answer) => {
                    self.submit_op(id, request.into_op(answer), trace).await
                }
                Submission::Compact => self.submit_op(id, Op::Compact, trace).await,
                Submission::Review(review) => {
                    let review_request =
                        ReviewRequest { target: review_target(review), user_facing_hint: None };
                    self.submit_op(id, Op::Review { review_request }, trace).await
                }
                Submission::Rollback { turns } => {
                    self.submit_op(id, Op::ThreadRollback { num_turns: turns }, trace).await
                }
                Submission::Interrupt => {
                    self.submit_op(id.clone(), Op::Interrupt, trace).await?;
                    // An interrupt spares background processes; without a turn nothing ends them.
                    self.submit_op(format!("{id}-background"), Op::CleanBackgroundTerminals, None)
                        .await
                }
                Submission::Steer { turn_id, text, images } => self
                    .thread
                    .steer_input(
                        user_input(text, images),
                        BTreeMap::new(),
                        Some(&turn_id),
                        None,
                        None,
                    )
                    .await
                    .map(|_turn_id| ())
                    .map_err(steer_error),
            }
        })
    }

    fn set_mcp_servers(&self, servers: Vec<McpServer>) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            self.mcp.set(servers);
            self.refresh_mcp().await
        })
    }

    fn mcp_states(&self) -> HashMap<String, McpState> {
        self.mcp.states()
    }

    fn next_event(&self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async move {
            let mut extension_events = self.extension_events.lock().await;
            let event = tokio::select! {
                event = self.thread.next_event() => event.ok(),
                Some(event) = extension_events.recv() => Some(*event),
            };
            if let Some(event) = &event {
                self.mcp.observe(&event.msg);
                if matches!(event.msg, EventMsg::ExecCommandBegin(_)) {
                    self.owner.children.wake();
                }
            }
            event
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let flushed = self.thread.flush_rollout().await;
            flushed.map_err(|error| EngineError::Failed(error.to_string()))
        })
    }

    fn close(&self) -> BoxFuture<'_, Closed> {
        Box::pin(async move {
            let Owner { manager, store, .. } = &self.owner;
            store.expect_close(self.id);
            let ended = tokio::time::timeout(CLOSE_LIMIT, self.thread.shutdown_and_wait()).await;
            let closed = match ended {
                Ok(ended) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, thread = %self.id, "it had already ended");
                    }
                    store.closed(self.id);
                    Closed::Ended
                }
                Err(_) => {
                    let abandoned = store.abandon(self.id);
                    if tokio::time::timeout(ABANDON_LIMIT, abandoned).await.is_err() {
                        tracing::error!(thread = %self.id, "a recording could not be closed");
                    }
                    Closed::Abandoned
                }
            };
            manager.remove_thread(&self.id).await;
            closed
        })
    }
}

/// Trace context as core's type.
pub(super) fn core_trace(
    TraceContext { traceparent, tracestate }: TraceContext,
) -> W3cTraceContext {
    W3cTraceContext { traceparent: Some(traceparent), tracestate }
}

/// Maps core's error, without the prompt that it contains.
fn steer_error(error: SteerInputError) -> EngineError {
    match error {
        SteerInputError::NoActiveTurn(_) | SteerInputError::ExpectedTurnMismatch { .. } => {
            EngineError::NoActiveTurn
        }
        SteerInputError::ActiveTurnNotSteerable { turn_kind } => {
            EngineError::Rejected(format!("a {turn_kind:?} turn cannot be steered"))
        }
        SteerInputError::EmptyInput => {
            EngineError::Rejected("text: expected text or images to add, got none".to_owned())
        }
    }
}

fn review_target(review: Review) -> ReviewTarget {
    match review {
        Review::UncommittedChanges => ReviewTarget::UncommittedChanges,
        Review::BaseBranch { branch } => ReviewTarget::BaseBranch { branch },
        Review::Commit { sha } => ReviewTarget::Commit { sha, title: None },
        Review::Custom { instructions } => ReviewTarget::Custom { instructions },
    }
}

fn user_input(text: String, images: Vec<String>) -> Vec<UserInput> {
    let text = UserInput::Text { text, text_elements: Vec::new() };
    let images = images.into_iter().map(|image_url| UserInput::Image { image_url, detail: None });
    std::iter::once(text).chain(images).collect()
}

/// Trace context for the `_meta` of tool calls. The trace headers that core sends belong to the
/// task that owns the connection, not to the call.
fn trace_metadata(trace: &TraceContext) -> HashMap<String, String> {
    let TraceContext { traceparent, tracestate } = trace;
    let members = [("traceparent", Some(traceparent)), ("tracestate", tracestate.as_ref())];
    let members = members.into_iter().filter_map(|(key, value)| Some((key, value?)));
    members.map(|(key, value)| (key.to_owned(), value.clone())).collect()
}

fn prompt_op(prompt: Prompt, permissions: &Permissions, trace: Option<&TraceContext>) -> Op {
    let Prompt { text, images, output_schema, model, sandbox, approval_policy } = prompt;
    Op::UserInput {
        items: user_input(text, images),
        final_output_json_schema: output_schema,
        responsesapi_client_metadata: trace.map(trace_metadata),
        additional_context: BTreeMap::new(),
        thread_settings: ThreadSettingsOverrides {
            model,
            approval_policy: approval_policy.map(ask_for_approval),
            permission_profile: sandbox.map(|sandbox| permissions.profile(sandbox)),
            ..ThreadSettingsOverrides::default()
        },
    }
}
