//! How a request gets its conversation: prompt, start, resume.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Approval;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadSpec;
use tokio::sync::OnceCell;
use tracing::Instrument;

use super::conversation_ref::ConversationRef;
use super::handle::Conversation;
use super::handle::ResumeState;
use super::id::ConversationId;
use super::id::ConversationKey;
use super::id::SessionId;
use super::mcp_servers::specs;
use super::prestart::PrestartedThread;
use super::record_status::RecordKind;
use super::registry::Cell;
use super::registry::Registry;
use super::registry::archived;
use super::registry::not_found;
use super::sessions::StoredConversation;
use super::start_options::StartOptions;
use super::state::Activity;
use super::turn::IfBusy;
use super::turn::Turn;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::trace;

/// The time for core to start or resume a thread, its tool servers included.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often a conversation that has just ended is opened again for one request.
pub(super) const MAX_ROUNDS: usize = 8;

impl Registry {
    /// Starts a turn in the conversation that `key` names, or handles the prompt as `if_busy` says.
    /// `options` decide what `prompt` leaves open. Not cancel-safe: call it from a task that goes
    /// on without the client, so that no conversation is left half started.
    ///
    /// Opens the conversation outside of the request's span, because core's tasks would hold it for
    /// as long as the conversation lives.
    ///
    /// # Errors
    /// As of [`Self::open`]; `InvalidRequest` where the conversation uses another provider than
    /// `options` choose; `Busy` where a turn runs and `if_busy` is to reject; `Overloaded` where
    /// too many prompts are queued.
    pub async fn prompt(
        &self,
        key: &ConversationKey,
        options: &StartOptions,
        prompt: Prompt,
        timeout: Duration,
        if_busy: IfBusy,
    ) -> Result<Turn, Error> {
        let prompt = &prompt;
        self.with_open(key, options, |conversation| async move {
            let in_use = conversation.model_provider();
            options.model.check_provider(in_use)?;
            let mut prompt = prompt.clone();
            prompt.model = prompt.model.or_else(|| options.model.for_turn(in_use));
            prompt.sandbox = prompt.sandbox.or(options.sandbox);
            prompt.approval_policy = prompt.approval_policy.or(options.approval_policy);
            let turn = conversation.prompt(prompt, timeout, if_busy);
            turn.instrument(options.span.clone()).await
        })
        .await
    }

    /// Runs `work` on a live conversation, resumed where it is only stored. Runs it again if it
    /// fails because the conversation was closed in between; so `work` must not fail after it has
    /// submitted something.
    ///
    /// # Errors
    /// As of [`Self::open`]; any error of `work`.
    pub async fn with_live<T, F>(
        &self,
        id: &ConversationId,
        caller: &str,
        work: impl Fn(Arc<Conversation>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.with_open(&id.clone().into(), &StartOptions::new(caller), work).await
    }

    async fn with_open<T, F>(
        &self,
        key: &ConversationKey,
        options: &StartOptions,
        work: impl Fn(Arc<Conversation>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for _ in 0..MAX_ROUNDS {
            self.sessions.check_room()?;
            let conversation = self.open(key, options).await?;
            match work(Arc::clone(&conversation)).await {
                // Closed between the two calls. The next round resumes it.
                Err(_) if conversation.snapshot().activity == Activity::Closed => {}
                done => return done,
            }
        }
        Err(keeps_ending())
    }

    /// The conversation that `key` names, resumed where it is only stored, or a new one.
    ///
    /// # Errors
    /// `NotFound` for an unknown or archived `conversation_id`; `InvalidRequest` where the two
    /// names disagree or `cwd` is not the conversation's; `Forbidden` where another caller has
    /// logged the session in; `InsufficientStorage` where a new one cannot be stored; `Unavailable`
    /// while the process drains; propagates `EngineError`.
    pub async fn open(
        &self,
        key: &ConversationKey,
        options: &StartOptions,
    ) -> Result<Arc<Conversation>, Error> {
        if self.shared.shutdown.drain.is_cancelled() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        let Some(session_id) = self.session_of(key, &options.caller)? else {
            // The name is new, so no concurrent caller needs its cell.
            let conversation = self.start(&SessionId::generate(), options).await?;
            self.names().insert(conversation.session_id.clone(), cell(&conversation));
            return Ok(conversation);
        };
        self.credentials.admit(session_id.as_str(), &options.caller)?;
        let by_id = key.conversation_id.is_some();
        let conversation = self.open_session(&session_id, options, by_id).await?;
        // Another caller may have taken the name, or logged in with it, at the same time.
        self.check_name(&options.caller, &session_id)?;
        self.credentials.admit(session_id.as_str(), &options.caller)?;
        if let Some(cwd) = &options.cwd
            && !self.workspaces.is_same(cwd, &conversation.cwd)
        {
            return Err(Error::invalid(format!(
                "cwd: the conversation already works in {}; a folder is chosen when it starts",
                conversation.cwd.display()
            )));
        }
        Ok(conversation)
    }

    /// The session that `key` means; `None` for a new one. To a caller who may not use a conversation,
    /// it does not exist.
    fn session_of(&self, key: &ConversationKey, caller: &str) -> Result<Option<SessionId>, Error> {
        let Some(id) = &key.conversation_id else {
            if let Some(session_id) = &key.session_id {
                self.check_name(caller, session_id)?;
            }
            return Ok(key.session_id.clone());
        };
        let owner = match self.get(caller, id) {
            Some(ConversationRef::Stored(stored, _)) if stored.archived => {
                return Err(archived(id));
            }
            Some(known) => known.session_id().clone(),
            None => return Err(not_found(id)),
        };
        match &key.session_id {
            Some(session_id) if *session_id != owner => Err(Error::invalid(format!(
                "session_id: conversation {id} belongs to session {owner}; send one of the two"
            ))),
            Some(_) | None => Ok(Some(owner)),
        }
    }

    /// A session's live conversation, resumed or started where there is none. `by_id`: the client
    /// named the conversation, so a new one is no substitute.
    async fn open_session(
        &self,
        session_id: &SessionId,
        options: &StartOptions,
        by_id: bool,
    ) -> Result<Arc<Conversation>, Error> {
        for _ in 0..MAX_ROUNDS {
            let cell = Arc::clone(self.names().entry(session_id.clone()).or_default());
            let conversation = cell
                .get_or_try_init(|| async {
                    match self.sessions.by_session(session_id) {
                        Some(stored) if !stored.archived => {
                            self.resume(stored, options, by_id).await
                        }
                        Some(_) | None => self.start(session_id, options).await,
                    }
                })
                .await;
            let conversation = match conversation {
                Ok(conversation) => Arc::clone(conversation),
                Err(error) => {
                    self.drop_empty_cell(session_id);
                    return Err(error);
                }
            };
            if conversation.snapshot().activity != Activity::Closed {
                return Ok(conversation);
            }
            // Its thread has ended or is about to. The next round resumes the conversation.
            conversation.close().await;
            self.remove(&conversation);
        }
        Err(keeps_ending())
    }

    /// Removes the cell of a session without a live conversation, unless others wait for it.
    pub(super) fn drop_empty_cell(&self, session_id: &SessionId) {
        self.names().retain(|name, cell| {
            name != session_id || cell.initialized() || Arc::strong_count(cell) > 2
        });
    }

    async fn start(
        &self,
        session_id: &SessionId,
        options: &StartOptions,
    ) -> Result<Arc<Conversation>, Error> {
        self.sessions.check_room()?;
        let place = self.room().await?;
        let _waiting = self.prestart.waiting_client();
        let preferred = self.credentials.preferred(session_id.as_str());
        let choice = options.model.for_start(self.engine.facts(), preferred)?;
        let servers = self.mcp_servers.for_start(None, Some(&options.caller));
        let resumed = ResumeState {
            created_at: None,
            sandbox: options.sandbox.unwrap_or(Sandbox::WorkspaceWrite),
            approval_policy: options.approval_policy.unwrap_or(Approval::Never),
            reduced: Vec::new(),
            owner: Some(options.caller.clone()),
        };
        if choice.is_open()
            && servers.is_empty()
            && let Some(PrestartedThread { thread, cwd, .. }) = self.prestart.take(options)
        {
            self.workspaces.keep(&cwd)?;
            let adopted = self.adopt_new(thread, session_id, resumed, servers, place);
            return remove_on_failure(adopted, Some(&cwd)).await;
        }
        let cwd = match &options.cwd {
            Some(cwd) => self.workspaces.resolve(cwd).await?,
            None => self.workspaces.create().await?,
        };
        let spec = ThreadSpec {
            cwd: cwd.clone(),
            model: choice.model,
            model_provider: choice.provider,
            sandbox: options.sandbox,
            approval_policy: options.approval_policy,
            mcp_servers: specs(&servers),
            trace: trace::for_core(&options.span),
        };
        let thread = started(self.engine.start(spec)).await;
        let adopted =
            thread.and_then(|thread| self.adopt_new(thread, session_id, resumed, servers, place));
        remove_on_failure(adopted, Some(&cwd).filter(|_| options.cwd.is_none())).await
    }

    async fn resume(
        &self,
        stored: StoredConversation,
        options: &StartOptions,
        by_id: bool,
    ) -> Result<Arc<Conversation>, Error> {
        let place = self.room().await?;
        self.workspaces.verify(&stored.cwd).await?;
        let created_at = Some(stored.created_at);
        let (mut spec, resumed) = self.resume_spec(stored.clone(), created_at);
        let StoredConversation { session_id, conversation_id: id, .. } = &stored;
        let servers = self.mcp_servers.for_start(Some(id), stored.owner.as_deref());
        spec.mcp_servers = specs(&servers);
        spec.trace = trace::for_core(&options.span);
        // Core may start a turn of its own as soon as the thread is back.
        self.credentials.bind(id.as_str(), session_id.as_str());
        match started(self.engine.resume(id.to_string(), spec)).await {
            Ok(thread) => {
                let damaged_lines = thread.facts().damaged_lines;
                self.records().add_damaged_lines(RecordKind::Recording, damaged_lines);
                Ok(self.adopt(thread, session_id, resumed, servers, place))
            }
            // Stored here, but core recorded no turn of it, so there is nothing to resume.
            Err(error) if *error.kind() == Kind::NotFound && !by_id => {
                tracing::info!(%session_id, conversation = %id, "no history is kept: starting anew");
                drop(place);
                self.start(session_id, options).await
            }
            Err(error) => Err(error),
        }
    }

    /// The spec under which a stored conversation is resumed or forked, reduced to what the operator
    /// permits.
    pub(super) fn resume_spec(
        &self,
        mut stored: StoredConversation,
        created_at: Option<DateTime<Utc>>,
    ) -> (ThreadSpec, ResumeState) {
        let reduced = self.permitted.reduce(&mut stored);
        let StoredConversation { conversation_id, cwd, defaults, model_provider, owner, .. } =
            stored;
        if !reduced.is_empty() {
            tracing::info!(conversation = %conversation_id, ?reduced, "recorded settings are reduced");
        }
        let (sandbox, approval_policy) = (defaults.sandbox, defaults.approval_policy);
        let spec = ThreadSpec {
            cwd,
            model: Some(defaults.model),
            model_provider: Some(model_provider),
            sandbox: Some(sandbox),
            approval_policy: Some(approval_policy),
            mcp_servers: Vec::new(),
            trace: None,
        };
        (spec, ResumeState { created_at, sandbox, approval_policy, reduced, owner })
    }
}

/// Waits for core to start a thread, for a limited time.
pub(super) async fn started(
    starting: impl Future<Output = Result<Arc<dyn Thread>, EngineError>>,
) -> Result<Arc<dyn Thread>, Error> {
    match tokio::time::timeout(START_LIMIT, starting).await {
        Ok(started) => Ok(started?),
        Err(_) => Err(Error::new(
            Kind::TimedOut,
            format!("the conversation did not start within {} s", START_LIMIT.as_secs()),
        )),
    }
}

/// The error of a conversation that ends as often as it is opened.
pub(super) fn keeps_ending() -> Error {
    Error::new(Kind::Unavailable, "the conversation keeps ending: try again in a moment")
}

/// Removes the folder that was created for a conversation that has not started.
async fn remove_on_failure<T>(
    started: Result<T, Error>,
    created: Option<&PathBuf>,
) -> Result<T, Error> {
    if started.is_err()
        && let Some(folder) = created
    {
        let _ = tokio::fs::remove_dir(folder).await;
    }
    started
}

pub(super) fn cell(conversation: &Arc<Conversation>) -> Cell {
    Arc::new(OnceCell::new_with(Some(Arc::clone(conversation))))
}
