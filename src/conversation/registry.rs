//! Which conversations there are, and which session names belong to them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Approval;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadSpec;
use tokio::sync::OnceCell;
use tracing::Instrument;

use super::Activity;
use super::Conversation;
use super::ConversationRef;
use super::IfBusy;
use super::ResumeState;
use super::StartOptions;
use super::Turn;
use super::id::ConversationId;
use super::id::ConversationKey;
use super::id::SessionId;
use super::pool::Pool;
use super::pool::Started;
use super::servers::Connected;
use super::servers::Servers;
use super::sessions::Sessions;
use super::sessions::StoredConversation;
use super::workspace;
use crate::bridge::credentials::Credentials;
use crate::bridge::in_flight::InFlight;
use crate::conversation::limits::Limits;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::mcp_egress::EgressProxy;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::telemetry::trace;

/// Where something other than a conversation works.
#[derive(Debug)]
pub struct Place {
    /// The folder. It exists.
    pub folder: PathBuf,
    /// It was made just now, under a name of its own.
    pub is_new: bool,
}

/// The conversations of this process.
pub struct Registry {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) sessions: Sessions,
    pub(super) root: PathBuf,
    pub(super) claims: Arc<workspace::Claims>,
    calls: InFlight,
    pub(super) servers: Servers,
    credentials: Credentials,
    pub(super) limits: Limits,
    raw_events: bool,
    pub(super) shutdown: Shutdown,
    pub(super) pool: Pool,
    live: Mutex<HashMap<ConversationId, Arc<Conversation>>>,
    /// A cell per name, so that two prompts at once for a new name start one conversation.
    names: Mutex<HashMap<SessionId, Arc<OnceCell<Arc<Conversation>>>>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("live", &self.len()).finish_non_exhaustive()
    }
}

/// What a registry is made of.
pub struct Parts {
    /// Starts and resumes threads.
    pub engine: Arc<dyn Engine>,
    /// The conversations on disk.
    pub sessions: Sessions,
    /// The workspace root, resolved.
    pub root: PathBuf,
    /// The model calls in flight.
    pub calls: InFlight,
    /// The provider keys of logged-in sessions.
    pub credentials: Credentials,
    /// The egress proxy to tool servers behind a URL, where these may not be private.
    pub egress: Option<EgressProxy>,
    /// Bounds of turns and their events.
    pub limits: Limits,
    /// Keeps the events that carry the system prompt.
    pub raw_events: bool,
    /// The stages of the end.
    pub shutdown: Shutdown,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry with no live conversation.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            engine,
            sessions,
            root,
            calls,
            credentials,
            egress,
            limits,
            raw_events,
            shutdown,
        } = parts;
        Self {
            servers: Servers::new(Arc::clone(&engine), root.clone(), egress),
            claims: Arc::new(workspace::Claims::new(sessions.folders())),
            pool: Pool::new(limits.started_ahead),
            engine,
            sessions,
            root,
            calls,
            credentials,
            limits,
            raw_events,
            shutdown,
            live: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// Where conversations come from.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// A folder for a one-off command.
    ///
    /// # Errors
    /// As [`workspace::visit`].
    pub async fn visit(&self, cwd: Option<&str>) -> Result<workspace::Visit, Error> {
        workspace::visit(&self.root, cwd, &self.claims).await
    }

    /// The tool servers of conversations.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The keys that sessions have brought along.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// How many conversations are live.
    pub fn len(&self) -> usize {
        self.live().len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many turns are running.
    pub fn running(&self) -> usize {
        let live = self.live();
        let running = |one: &&Arc<Conversation>| match one.snapshot().activity {
            Activity::Running | Activity::WaitingApproval => true,
            Activity::Idle | Activity::Closed => false,
        };
        live.values().filter(running).count()
    }

    /// How many questions of agents wait for an answer.
    pub fn pending_approvals(&self) -> usize {
        self.live().values().map(|one| one.lock().questions.len()).sum()
    }

    /// What the events of all conversations weigh that are kept.
    pub fn event_log_bytes(&self) -> usize {
        self.live().values().map(|one| one.log.bytes()).sum()
    }

    /// Starts a turn in the conversation that `key` names, or passes the prompt on as `if_busy` says. What
    /// `prompt` leaves open, `options` decide. To be called from a task that goes on without the client: a
    /// conversation must not be left half started.
    ///
    /// The conversation is opened outside of the request's span, which core's tasks would hold for as long
    /// as the conversation lives.
    ///
    /// # Errors
    /// As of [`Self::open`] and [`Conversation::prompt`]; `InvalidRequest` where the conversation uses
    /// another provider than `options` choose.
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

    /// Runs `work` on a live conversation, resumed where it is only stored. `work` runs again if the
    /// conversation closes before it succeeds, so it fails only where nothing was submitted.
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
        loop {
            let conversation = self.open(key, options).await?;
            match work(Arc::clone(&conversation)).await {
                // It was closed between the two calls. The next round resumes it.
                Err(_) if conversation.snapshot().activity == Activity::Closed => {}
                done => return done,
            }
        }
    }

    /// The conversation that `key` names, resumed where it is only stored, or a new one.
    ///
    /// # Errors
    /// `NotFound` for an unknown `conversation_id`; `InvalidRequest` where the two names disagree or
    /// `cwd` is not the conversation's; `Forbidden` where another caller has logged the session in;
    /// propagates `EngineError`.
    pub async fn open(
        &self,
        key: &ConversationKey,
        options: &StartOptions,
    ) -> Result<Arc<Conversation>, Error> {
        if self.shutdown.drain.is_cancelled() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        let session_id = match (&key.conversation_id, &key.session_id) {
            (None, None) => {
                // The name is new, so no concurrent caller needs its cell.
                let conversation = self.start(&SessionId::generate(), options).await?;
                self.names().insert(conversation.session_id.clone(), cell(&conversation));
                return Ok(conversation);
            }
            (Some(id), session_id) => {
                let owner = match self.known(id) {
                    Some(ConversationRef::Stored(stored)) if stored.archived => {
                        return Err(archived(id));
                    }
                    Some(known) => known.session_id().clone(),
                    None => return Err(unknown(id)),
                };
                if session_id.as_ref().is_some_and(|session_id| *session_id != owner) {
                    return Err(Error::invalid(format!(
                        "session_id: conversation {id} belongs to session {owner}; send one of the two"
                    )));
                }
                owner
            }
            (None, Some(session_id)) => session_id.clone(),
        };
        self.credentials.admit(session_id.as_str(), &options.caller)?;
        let by_id = key.conversation_id.is_some();
        let conversation = self.by_name(&session_id, options, by_id).await?;
        if let Some(cwd) = &options.cwd
            && !workspace::is_same(&self.root, cwd, &conversation.cwd)
        {
            return Err(Error::invalid(format!(
                "cwd: the conversation already works in {}; a folder is chosen when it starts",
                conversation.cwd.display()
            )));
        }
        Ok(conversation)
    }

    async fn by_name(
        &self,
        session_id: &SessionId,
        options: &StartOptions,
        by_id: bool,
    ) -> Result<Arc<Conversation>, Error> {
        loop {
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
                    // A failed start leaves no empty cell.
                    self.names().retain(|name, kept| {
                        name != session_id || kept.initialized() || Arc::strong_count(kept) > 2
                    });
                    return Err(error);
                }
            };
            if conversation.snapshot().activity != Activity::Closed {
                return Ok(conversation);
            }
            // Its thread has ended or is about to. The next round resumes it from its record.
            conversation.close().await;
            self.forget(&conversation);
        }
    }

    async fn start(
        &self,
        session_id: &SessionId,
        options: &StartOptions,
    ) -> Result<Arc<Conversation>, Error> {
        let _awaited = self.pool.awaited();
        let preferred = self.credentials.preferred(session_id.as_str());
        let choice = options.model.for_start(self.engine.facts(), preferred)?;
        let servers = self.servers.wanted(None);
        if choice.is_open()
            && servers.is_empty()
            && let Some(Started { thread, cwd, .. }) = self.pool.take(options)
        {
            self.claims.claim(&self.root, &cwd)?;
            return Ok(self.started(thread, session_id, options, servers));
        }
        let cwd = match &options.cwd {
            Some(cwd) => workspace::named(&self.root, cwd, &self.claims).await?,
            None => workspace::fresh(&self.root, &self.claims).await?,
        };
        let spec = ThreadSpec {
            cwd: cwd.clone(),
            model: choice.model,
            model_provider: choice.provider,
            sandbox: options.sandbox,
            approval_policy: options.approval_policy,
            mcp_servers: servers.iter().map(|one| one.server.clone()).collect(),
            trace: trace::for_core(&options.span),
        };
        let thread = match self.engine.start(spec).await {
            Ok(thread) => thread,
            Err(error) => {
                if options.cwd.is_none() {
                    let _ = tokio::fs::remove_dir(&cwd).await;
                }
                return Err(error.into());
            }
        };
        Ok(self.started(thread, session_id, options, servers))
    }

    /// Registers and stores a conversation whose thread has just started.
    fn started(
        &self,
        thread: Arc<dyn Thread>,
        session_id: &SessionId,
        options: &StartOptions,
        servers: Vec<Connected>,
    ) -> Arc<Conversation> {
        let resumed = ResumeState {
            created_at: None,
            sandbox: options.sandbox.unwrap_or(Sandbox::WorkspaceWrite),
            approval_policy: options.approval_policy.unwrap_or(Approval::Never),
        };
        let conversation = self.adopt(thread, session_id, resumed);
        self.servers.started(&conversation.id, servers);
        self.remember(&conversation);
        conversation
    }

    pub(super) fn remember(&self, conversation: &Conversation) {
        let record = StoredConversation {
            session_id: conversation.session_id.clone(),
            conversation_id: conversation.id.clone(),
            cwd: conversation.cwd.clone(),
            defaults: conversation.defaults.clone(),
            model_provider: conversation.model_provider.clone(),
            created_at: conversation.created_at,
            archived: false,
        };
        if let Err(error) = self.sessions.insert(record) {
            let session_id = &conversation.session_id;
            tracing::error!(%error, %session_id, "the session will not survive a restart");
        }
    }

    async fn resume(
        &self,
        stored: StoredConversation,
        options: &StartOptions,
        by_id: bool,
    ) -> Result<Arc<Conversation>, Error> {
        let StoredConversation { session_id, conversation_id: id, .. } = &stored;
        workspace::revisit(&self.root, &stored.cwd).await?;
        let servers = self.servers.wanted(Some(id));
        let (mut spec, resumed) = as_recorded(&stored, Some(stored.created_at));
        spec.mcp_servers = servers.iter().map(|one| one.server.clone()).collect();
        spec.trace = trace::for_core(&options.span);
        // Core may go on with it as soon as it is back.
        self.credentials.bind(id.as_str(), session_id.as_str());
        match self.engine.resume(id.to_string(), spec).await {
            Ok(thread) => {
                let conversation = self.adopt(thread, session_id, resumed);
                self.servers.started(&conversation.id, servers);
                Ok(conversation)
            }
            // Stored here, but core recorded no turn of it: nothing to resume.
            Err(EngineError::NotFound(_)) if !by_id => {
                tracing::info!(%session_id, conversation = %id, "no history is kept: starting anew");
                self.start(session_id, options).await
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn adopt(
        &self,
        thread: Arc<dyn Thread>,
        session_id: &SessionId,
        resumed: ResumeState,
    ) -> Arc<Conversation> {
        self.credentials.bind(&thread.facts().id, session_id.as_str());
        let conversation = Conversation::open(
            thread,
            session_id.clone(),
            resumed,
            self.calls.clone(),
            &self.limits,
            &self.shutdown,
            self.raw_events,
        );
        self.live().insert(conversation.id.clone(), Arc::clone(&conversation));
        conversation
    }

    /// A live conversation, resumed where it is only stored.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn load(
        &self,
        id: &ConversationId,
        caller: &str,
    ) -> Result<Arc<Conversation>, Error> {
        self.open(&id.clone().into(), &StartOptions::new(caller)).await
    }

    /// A conversation that has ended is no longer live; another under its name stays.
    pub(super) fn forget(&self, conversation: &Arc<Conversation>) {
        self.live().retain(|_, live| !Arc::ptr_eq(live, conversation));
        self.credentials.unbind(conversation.id.as_str());
        self.names()
            .retain(|_, cell| cell.get().is_none_or(|live| !Arc::ptr_eq(live, conversation)));
    }

    /// A conversation by its id.
    pub fn known(&self, id: &ConversationId) -> Option<ConversationRef> {
        if let Some(conversation) = self.live().get(id) {
            return Some(ConversationRef::Live(Arc::clone(conversation)));
        }
        self.sessions.by_conversation(id).map(ConversationRef::Stored)
    }

    /// Where something other than a conversation works: in a conversation's folder, in the one that
    /// `cwd` names as a prompt may name it, or in a new one.
    ///
    /// # Errors
    /// `InvalidRequest` where `cwd` is not what a prompt may name, or not the conversation's; `Forbidden`
    /// where the conversation's folder has become a link.
    pub async fn place(
        &self,
        of: Option<&ConversationRef>,
        cwd: Option<&str>,
    ) -> Result<Place, Error> {
        let (folder, is_new) = match (of, cwd) {
            (Some(known), _) => {
                let folder = known.cwd();
                workspace::revisit(&self.root, folder).await?;
                if cwd.is_some_and(|cwd| !workspace::is_same(&self.root, cwd, folder)) {
                    return Err(Error::invalid(format!(
                        "cwd: expected the conversation's folder, {}, or none beside its name",
                        folder.display()
                    )));
                }
                (folder.to_owned(), false)
            }
            (None, Some(cwd)) => (workspace::named(&self.root, cwd, &self.claims).await?, false),
            (None, None) => (workspace::fresh(&self.root, &self.claims).await?, true),
        };
        Ok(Place { folder, is_new })
    }

    /// The conversation that `key` names. Starts and resumes nothing.
    pub fn find(&self, key: &ConversationKey) -> Option<ConversationRef> {
        if let Some(id) = &key.conversation_id {
            return self.known(id);
        }
        let session_id = key.session_id.as_ref()?;
        let live = self.names().get(session_id).and_then(|cell| cell.get().cloned());
        match live {
            Some(conversation) => Some(ConversationRef::Live(conversation)),
            None => self.sessions.by_session(session_id).map(ConversationRef::Stored),
        }
    }

    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<ConversationId, Arc<Conversation>>> {
        self.live.lock()
    }

    pub(super) fn names(
        &self,
    ) -> MutexGuard<'_, HashMap<SessionId, Arc<OnceCell<Arc<Conversation>>>>> {
        self.names.lock()
    }
}

/// How a stored conversation is resumed.
pub(super) fn as_recorded(
    stored: &StoredConversation,
    created_at: Option<DateTime<Utc>>,
) -> (ThreadSpec, ResumeState) {
    let StoredConversation { cwd, defaults, model_provider, .. } = stored;
    let spec = ThreadSpec {
        cwd: cwd.clone(),
        model: Some(defaults.model.clone()),
        model_provider: Some(model_provider.clone()),
        sandbox: Some(defaults.sandbox),
        approval_policy: Some(defaults.approval_policy),
        mcp_servers: Vec::new(),
        trace: None,
    };
    let (sandbox, approval_policy) = (defaults.sandbox, defaults.approval_policy);
    (spec, ResumeState { created_at, sandbox, approval_policy })
}

fn archived(id: &ConversationId) -> Error {
    Error::new(
        Kind::NotFound,
        format!("conversation {id} is in the archive: expected conversation.resume first"),
    )
}

pub(super) fn cell(conversation: &Arc<Conversation>) -> Arc<OnceCell<Arc<Conversation>>> {
    Arc::new(OnceCell::new_with(Some(Arc::clone(conversation))))
}

/// No conversation has this id.
pub fn unknown(id: &ConversationId) -> Error {
    Error::new(Kind::NotFound, format!("no conversation has the id {id}"))
}
