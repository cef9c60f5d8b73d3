//! Which conversations there are, and which session names belong to them.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Approval;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadSpec;
use tokio::sync::OnceCell;

use super::Activity;
use super::Conversation;
use super::Resumption;
use super::id::ConversationId;
use super::id::SessionId;
use super::pool::Pool;
use super::pool::Started;
use super::servers::Connected;
use super::servers::Servers;
use super::workspace;
use crate::bridge::built_in::BuiltIn;
use crate::bridge::calls::Calls;
use crate::bridge::credentials::Credentials;
use crate::bridge::demo;
use crate::conversation::limits::Limits;
use crate::conversation::sessions::Record;
use crate::conversation::sessions::Sessions;
use crate::error::Error;
use crate::error::Kind;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;

/// Which conversation a request means.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// The name that the client chose.
    pub session_id: Option<SessionId>,
    /// Codex's thread id.
    pub conversation_id: Option<ConversationId>,
}

/// How a new conversation is to be; `cwd` as the client wrote it.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// A folder inside the workspace root.
    pub cwd: Option<String>,
    /// The name of the caller's key.
    pub caller: String,
    /// The rest; its own `cwd` is not used.
    pub spec: ThreadSpec,
}

/// A conversation that is known.
#[derive(Debug, Clone)]
pub enum Known {
    /// It is live in this process.
    Live(Arc<Conversation>),
    /// An earlier process recorded it; a prompt would take it up again.
    Recorded(Record),
}

impl Known {
    /// Codex's thread id.
    pub fn id(&self) -> ConversationId {
        match self {
            Self::Live(conversation) => conversation.id.clone(),
            Self::Recorded(record) => ConversationId::new(&record.conversation_id),
        }
    }

    /// The name that a client chose, or that was chosen for it.
    pub fn session_id(&self) -> &str {
        match self {
            Self::Live(conversation) => conversation.session_id.as_str(),
            Self::Recorded(record) => &record.session_id,
        }
    }

    /// What its commands may touch unless a prompt says otherwise.
    pub fn sandbox(&self) -> Sandbox {
        match self {
            Self::Live(conversation) => conversation.defaults.sandbox,
            Self::Recorded(record) => record.defaults.sandbox,
        }
    }

    fn cwd(&self) -> &Path {
        match self {
            Self::Live(conversation) => &conversation.cwd,
            Self::Recorded(record) => &record.cwd,
        }
    }
}

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
    calls: Calls,
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

impl Registry {
    /// An empty registry over what `sessions` remembers.
    pub fn new(
        engine: Arc<dyn Engine>,
        sessions: Sessions,
        root: PathBuf,
        calls: Calls,
        limits: Limits,
        raw_events: bool,
        shutdown: Shutdown,
    ) -> Self {
        let claims = Arc::new(workspace::Claims::new(sessions.folders()));
        Self {
            servers: Servers::new(Arc::clone(&engine), root.clone()),
            engine,
            sessions,
            root,
            claims,
            calls,
            credentials: Credentials::default(),
            limits,
            raw_events,
            shutdown,
            pool: Pool::new(0),
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

    /// With the keys that the bridge looks at.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// With so many threads that are started before anybody asks for one.
    #[must_use]
    pub fn with_pool(mut self, size: usize) -> Self {
        self.pool = Pool::new(size);
        self
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

    /// The conversation that a prompt goes to: the one it names, taken up again where an earlier
    /// process recorded it, or a new one.
    ///
    /// # Errors
    /// `NotFound` for an unknown `conversation_id`; `InvalidRequest` where the two names disagree,
    /// or `cwd` is not the conversation's; `Forbidden` where another caller has logged the session in;
    /// what the engine says.
    pub async fn open(
        &self,
        selector: &Selector,
        opening: &Opening,
    ) -> Result<Arc<Conversation>, Error> {
        if self.shutdown.drain.is_cancelled() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        let session_id = match (&selector.conversation_id, &selector.session_id) {
            (None, None) => {
                // Nobody else knows this name yet, so it needs no cell.
                let conversation = self.start(&generated_name(), opening).await?;
                self.names().insert(conversation.session_id.clone(), cell(&conversation));
                return Ok(conversation);
            }
            (Some(id), session_id) => {
                let owner = match self.known(id) {
                    Some(Known::Live(conversation)) => conversation.session_id.clone(),
                    Some(Known::Recorded(record)) if record.archived => return Err(archived(id)),
                    Some(Known::Recorded(record)) => SessionId::parse(&record.session_id)?,
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
        self.credentials.admit(session_id.as_str(), &opening.caller)?;
        let by_id = selector.conversation_id.is_some();
        let conversation = self.by_name(&session_id, opening, by_id).await?;
        if let Some(cwd) = &opening.cwd
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
        opening: &Opening,
        by_id: bool,
    ) -> Result<Arc<Conversation>, Error> {
        loop {
            let cell = Arc::clone(self.names().entry(session_id.clone()).or_default());
            let conversation = cell
                .get_or_try_init(|| async {
                    match self.sessions.by_session(session_id) {
                        Some(record) if !record.archived => {
                            self.resume(session_id, record, opening, by_id).await
                        }
                        Some(_) | None => self.start(session_id, opening).await,
                    }
                })
                .await;
            let conversation = match conversation {
                Ok(conversation) => Arc::clone(conversation),
                Err(error) => {
                    // An empty cell of a name that never came to be is not kept.
                    self.names().retain(|name, kept| {
                        name != session_id || kept.initialized() || Arc::strong_count(kept) > 2
                    });
                    return Err(error);
                }
            };
            if conversation.snapshot().activity != Activity::Closed {
                return Ok(conversation);
            }
            // Its thread has ended, or is about to; the next round takes it up again from its record.
            conversation.close().await;
            self.forget(&conversation);
        }
    }

    async fn start(
        &self,
        session_id: &SessionId,
        opening: &Opening,
    ) -> Result<Arc<Conversation>, Error> {
        let _awaited = self.pool.awaited();
        let (model_provider, model) = self.model(session_id, &opening.spec)?;
        let servers = self.servers.wanted(None);
        if model_provider.is_none()
            && model.is_none()
            && servers.is_empty()
            && let Some(Started { thread, cwd, .. }) = self.pool.take(opening)
        {
            self.claims.claim(&self.root, &cwd)?;
            return Ok(self.started(thread, session_id, opening, servers));
        }
        let cwd = match &opening.cwd {
            Some(cwd) => workspace::named(&self.root, cwd, &self.claims).await?,
            None => workspace::fresh(&self.root, &self.claims).await?,
        };
        let mcp_servers = servers.iter().map(|one| one.server.clone()).collect();
        let spec = ThreadSpec {
            cwd: cwd.clone(),
            model,
            model_provider,
            mcp_servers,
            ..opening.spec.clone()
        };
        let thread = match self.engine.start(spec).await {
            Ok(thread) => thread,
            Err(error) => {
                if opening.cwd.is_none() {
                    let _ = tokio::fs::remove_dir(&cwd).await;
                }
                return Err(error.into());
            }
        };
        Ok(self.started(thread, session_id, opening, servers))
    }

    /// A thread has been started for a new conversation.
    fn started(
        &self,
        thread: Arc<dyn Thread>,
        session_id: &SessionId,
        opening: &Opening,
        servers: Vec<Connected>,
    ) -> Arc<Conversation> {
        let resumption = Resumption {
            created_at: None,
            sandbox: opening.spec.sandbox.unwrap_or(Sandbox::WorkspaceWrite),
            approval_policy: opening.spec.approval_policy.unwrap_or(Approval::Never),
        };
        let conversation = self.adopt(thread, session_id, resumption);
        self.servers.started(&conversation.id, servers);
        self.remember(&conversation);
        conversation
    }

    pub(super) fn remember(&self, conversation: &Conversation) {
        let record = Record {
            session_id: conversation.session_id.to_string(),
            conversation_id: conversation.id.to_string(),
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

    /// The provider and the model of a new conversation; `None` is the configured one.
    fn model(
        &self,
        session_id: &SessionId,
        wanted: &ThreadSpec,
    ) -> Result<(Option<String>, Option<String>), Error> {
        let facts = self.engine.facts();
        let default = &facts.model_provider;
        let logged_in = || self.credentials.preferred(session_id.as_str());
        let provider = wanted.model_provider.clone().or_else(logged_in);
        let in_use = provider.as_deref().unwrap_or(default);
        if in_use == demo::ID {
            // The demo model is the only one there is, whatever a client is used to ask for: it answers
            // under its own name.
            return Ok((provider, None));
        }
        let mut model = wanted.model.clone();
        if model.is_none() && in_use != default {
            model = BuiltIn::find(in_use).map(|built_in| built_in.model.to_owned());
            // Of one that is not known, the engine says so.
            let known = facts.model_providers.iter().any(|known| known == in_use);
            if model.is_none() && known && default == demo::ID {
                return Err(Error::invalid(format!(
                    "model: expected the name of a model of {in_use}, which has no default"
                )));
            }
        }
        Ok((provider, model))
    }

    async fn resume(
        &self,
        session_id: &SessionId,
        record: Record,
        opening: &Opening,
        by_id: bool,
    ) -> Result<Arc<Conversation>, Error> {
        workspace::revisit(&self.root, &record.cwd).await?;
        let servers = self.servers.wanted(Some(&ConversationId::new(&record.conversation_id)));
        let (mut spec, resumption) = as_recorded(&record, Some(record.created_at));
        spec.mcp_servers = servers.iter().map(|one| one.server.clone()).collect();
        spec.trace.clone_from(&opening.spec.trace);
        let id = record.conversation_id;
        // It may go on by itself as soon as it is back.
        self.credentials.bind(&id, session_id.as_str());
        match self.engine.resume(id.clone(), spec).await {
            Ok(thread) => {
                let conversation = self.adopt(thread, session_id, resumption);
                self.servers.started(&conversation.id, servers);
                Ok(conversation)
            }
            // Recorded here, but core recorded no turn of it: there is nothing to take up.
            Err(EngineError::NotFound(_)) if !by_id => {
                tracing::info!(%session_id, conversation = id, "no history is kept: starting anew");
                self.start(session_id, opening).await
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn adopt(
        &self,
        thread: Arc<dyn Thread>,
        session_id: &SessionId,
        resumption: Resumption,
    ) -> Arc<Conversation> {
        self.credentials.bind(&thread.facts().id, session_id.as_str());
        let conversation = Conversation::open(
            thread,
            session_id.clone(),
            resumption,
            self.calls.clone(),
            &self.limits,
            &self.shutdown,
            self.raw_events,
        );
        self.live().insert(conversation.id.clone(), Arc::clone(&conversation));
        conversation
    }

    /// A live conversation, taken up again where it rests.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn wake(
        &self,
        id: &ConversationId,
        caller: &str,
    ) -> Result<Arc<Conversation>, Error> {
        let selector = Selector { session_id: None, conversation_id: Some(id.clone()) };
        let opening = Opening { caller: caller.to_owned(), ..Opening::default() };
        self.open(&selector, &opening).await
    }

    /// A conversation that has ended is no longer live; another under its name stays.
    pub(super) fn forget(&self, conversation: &Arc<Conversation>) {
        self.live().retain(|_, live| !Arc::ptr_eq(live, conversation));
        self.credentials.unbind(conversation.id.as_str());
        self.names()
            .retain(|_, cell| cell.get().is_none_or(|live| !Arc::ptr_eq(live, conversation)));
    }

    /// A conversation by its id.
    pub fn known(&self, id: &ConversationId) -> Option<Known> {
        if let Some(conversation) = self.live().get(id) {
            return Some(Known::Live(Arc::clone(conversation)));
        }
        self.sessions.by_conversation(id).map(Known::Recorded)
    }

    /// Where something other than a conversation works: in a conversation's folder, in the one that
    /// `cwd` names as a prompt may name it, or in a new one.
    ///
    /// # Errors
    /// `InvalidRequest` where `cwd` is not what a prompt may name, or not the conversation's; `Forbidden`
    /// where the conversation's folder has become a link.
    pub async fn place(&self, of: Option<&Known>, cwd: Option<&str>) -> Result<Place, Error> {
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

    /// The conversation that a request means, without starting or taking up anything.
    pub fn find(&self, selector: &Selector) -> Option<Known> {
        if let Some(id) = &selector.conversation_id {
            return self.known(id);
        }
        let session_id = selector.session_id.as_ref()?;
        let live = self.names().get(session_id).and_then(|cell| cell.get().cloned());
        match live {
            Some(conversation) => Some(Known::Live(conversation)),
            None => self.sessions.by_session(session_id).map(Known::Recorded),
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

/// How a recorded conversation is taken up.
pub(super) fn as_recorded(
    record: &Record,
    created_at: Option<DateTime<Utc>>,
) -> (ThreadSpec, Resumption) {
    let Record { cwd, defaults, model_provider, .. } = record;
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
    (spec, Resumption { created_at, sandbox, approval_policy })
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

pub(super) fn generated_name() -> SessionId {
    // A UUID satisfies the grammar of session names.
    SessionId::generated(uuid::Uuid::now_v7())
}

/// No conversation has this id.
pub fn unknown(id: &ConversationId) -> Error {
    Error::new(Kind::NotFound, format!("no conversation has the id {id}"))
}
