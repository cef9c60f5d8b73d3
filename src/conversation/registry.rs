//! The registry: the conversations of this process and their session names.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;

use chrono::Utc;
use codex_gateway_engine::Engine;
use codex_gateway_engine::Thread;
use tokio::sync::OnceCell;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use super::conversation_ref::ConversationRef;
use super::event_budget::EventBudget;
use super::handle::Conversation;
use super::handle::ResumeState;
use super::handle::Shared;
use super::id::ConversationId;
use super::id::ConversationKey;
use super::id::SessionId;
use super::limits::Limits;
use super::mcp_servers::McpConnection;
use super::mcp_servers::McpServers;
use super::permitted::Permitted;
use super::prestart::Prestart;
use super::record_status::RecordStatus;
use super::record_status::not_stored;
use super::sessions::OrderKey;
use super::sessions::Sessions;
use super::sessions::StoredConversation;
use super::settings::Settings;
use super::state::Activity;
use super::workspaces::Workspaces;
use super::written_folders::WrittenFolders;
use crate::access::owners::Owners;
use crate::bridge::credentials::Credentials;
use crate::bridge::in_flight::InFlight;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::mcp_egress::EgressProxy;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;

/// A cell per session name, so that concurrent prompts for a new name start one conversation.
pub(super) type Cell = Arc<OnceCell<Arc<Conversation>>>;

/// The conversations of this process.
pub struct Registry {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) sessions: Sessions,
    pub(super) workspaces: Workspaces,
    pub(super) mcp_servers: McpServers,
    pub(super) credentials: Credentials,
    pub(super) prestart: Prestart,
    pub(super) permitted: Permitted,
    owners: Owners,
    pub(super) shared: Shared,
    /// One permit for each conversation that may be live.
    pub(super) places: Arc<Semaphore>,
    live: Mutex<HashMap<ConversationId, Arc<Conversation>>>,
    names: Mutex<HashMap<SessionId, Cell>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("live", &self.len()).finish_non_exhaustive()
    }
}

/// The parts of a registry.
pub struct Parts {
    /// Starts and resumes threads.
    pub engine: Arc<dyn Engine>,
    /// The conversations on disk.
    pub sessions: Sessions,
    /// The workspace root, resolved.
    pub workspace_root: PathBuf,
    /// The folders in which commands have run.
    pub written_folders: WrittenFolders,
    /// The model calls in flight.
    pub calls: InFlight,
    /// The provider keys of logged-in sessions.
    pub credentials: Credentials,
    /// The egress proxy to tool servers behind a URL, where these may not be private.
    pub egress: Option<EgressProxy>,
    /// Bounds of turns and their events.
    pub limits: Limits,
    /// The settings that the operator permits.
    pub permitted: Permitted,
    /// Who may use what.
    pub owners: Owners,
    /// Whether event logs keep the events that carry the system prompt.
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
    /// A registry without live conversations.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            engine,
            sessions,
            workspace_root,
            written_folders,
            calls,
            credentials,
            egress,
            limits,
            permitted,
            owners,
            raw_events,
            shutdown,
        } = parts;
        let workspaces = Workspaces::new(workspace_root, sessions.folders(), written_folders);
        Self {
            prestart: Prestart::new(
                limits.prestarted,
                Arc::clone(&engine),
                workspaces.clone(),
                shutdown.clone(),
            ),
            mcp_servers: McpServers::new(
                Arc::clone(&engine),
                workspaces.root().to_owned(),
                egress.clone(),
            ),
            engine,
            sessions,
            workspaces,
            credentials,
            permitted,
            owners,
            places: Arc::new(Semaphore::new(limits.max_live.min(Semaphore::MAX_PERMITS))),
            shared: Shared {
                calls,
                event_budget: EventBudget::new(limits.max_event_log_bytes),
                turn_slots: Arc::new(Semaphore::new(limits.max_running)),
                limits,
                raw_events,
                egress,
                shutdown,
            },
            live: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// The folders of the conversations.
    pub fn workspaces(&self) -> &Workspaces {
        &self.workspaces
    }

    /// The tool servers of the conversations.
    pub fn mcp_servers(&self) -> &McpServers {
        &self.mcp_servers
    }

    /// The number of live conversations.
    pub fn len(&self) -> usize {
        self.live().len()
    }

    /// Whether no conversation is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of running turns.
    pub fn running(&self) -> usize {
        let live = self.live();
        let running = |conversation: &&Arc<Conversation>| match conversation.lock().activity() {
            Activity::Running | Activity::WaitingApproval => true,
            Activity::Idle | Activity::Closed => false,
        };
        live.values().filter(running).count()
    }

    /// The number of requests of agents that wait for an answer.
    pub fn pending_approvals(&self) -> usize {
        self.live().values().map(|conversation| conversation.lock().pending.len()).sum()
    }

    /// The size of all event logs in bytes.
    pub fn event_log_bytes(&self) -> usize {
        self.live().values().map(|conversation| conversation.log.bytes()).sum()
    }

    /// Keeps threads pre-started until the process drains.
    pub async fn run_prestart(self: Arc<Self>) {
        self.prestart.run().await;
    }

    /// The conversation that `key` names, if the caller may use it. Starts and resumes nothing.
    pub fn find(&self, caller: &str, key: &ConversationKey) -> Option<ConversationRef> {
        self.find_any(key).filter(|known| self.may_use(caller, known))
    }

    /// A conversation by its id, if the caller may use it.
    pub fn get(&self, caller: &str, id: &ConversationId) -> Option<ConversationRef> {
        self.get_any(id).filter(|known| self.may_use(caller, known))
    }

    /// Whether a caller may use a conversation. To others it does not exist.
    pub fn may_use(&self, caller: &str, known: &ConversationRef) -> bool {
        self.owners.may_use(caller, known.owner())
    }

    /// The conversation that `key` names, whoever it belongs to.
    pub(super) fn find_any(&self, key: &ConversationKey) -> Option<ConversationRef> {
        if let Some(id) = &key.conversation_id {
            return self.get_any(id);
        }
        let session_id = key.session_id.as_ref()?;
        let live = self.names().get(session_id).and_then(|cell| cell.get().cloned());
        match live {
            Some(conversation) => Some(ConversationRef::Live(conversation)),
            None => self.sessions.by_session(session_id).map(|stored| self.stored(stored)),
        }
    }

    /// A conversation by its id, whoever it belongs to.
    pub(super) fn get_any(&self, id: &ConversationId) -> Option<ConversationRef> {
        if let Some(conversation) = self.live().get(id) {
            return Some(ConversationRef::Live(Arc::clone(conversation)));
        }
        self.sessions.by_conversation(id).map(|stored| self.stored(stored))
    }

    /// Checks that a session's name is free, or its conversation the caller's.
    ///
    /// # Errors
    /// `NotFound` where it belongs to another key: to the caller, that conversation does not exist.
    pub fn check_name(&self, caller: &str, session_id: &SessionId) -> Result<(), Error> {
        match self.find_any(&session_id.clone().into()) {
            Some(known) if !self.may_use(caller, &known) => Err(Error::new(
                Kind::NotFound,
                format!(
                    "session_id: no conversation of yours has the name {session_id}, which is \
                         taken; choose another name"
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A conversation that is not live, as it would be loaded.
    fn stored(&self, mut stored: StoredConversation) -> ConversationRef {
        let reduced = self.permitted.reduce(&mut stored);
        ConversationRef::Stored(stored, reduced)
    }

    /// Whether records can be written.
    pub fn records(&self) -> &RecordStatus {
        self.sessions.status()
    }

    /// The place of a conversation in the order of their starts.
    pub fn order_key(&self, id: &ConversationId) -> Option<OrderKey> {
        self.sessions.order_key(id)
    }

    /// At most `limit` conversations that began before `before`, the newest first: those in the
    /// archive, or the others.
    pub fn newest_first(
        &self,
        archived: bool,
        before: Option<&OrderKey>,
        limit: usize,
    ) -> Vec<ConversationRef> {
        let stored = self.sessions.newest_first(archived, before, limit);
        let live = self.live();
        let reference = |stored: StoredConversation| match live.get(&stored.conversation_id) {
            // One that is being evicted is as good as evicted.
            Some(conversation) if conversation.lock().activity() != Activity::Closed => {
                ConversationRef::Live(Arc::clone(conversation))
            }
            Some(_) | None => self.stored(stored),
        };
        stored.into_iter().map(reference).collect()
    }

    /// At most `limit` live conversations that began before `before` and are in this state, the
    /// newest first.
    pub fn live_newest_first(
        &self,
        activity: Activity,
        before: Option<&OrderKey>,
        limit: usize,
    ) -> Vec<ConversationRef> {
        let key = |live: &Arc<Conversation>| (live.created_at, live.id.clone());
        let mut found: Vec<_> = self
            .live()
            .values()
            .filter(|live| live.lock().activity() == activity)
            .filter(|live| before.is_none_or(|before| key(live) < *before))
            .map(Arc::clone)
            .collect();
        found.sort_by_key(|live| std::cmp::Reverse(key(live)));
        found.truncate(limit);
        found.into_iter().map(ConversationRef::Live).collect()
    }

    /// Makes a thread a live conversation.
    pub(super) fn adopt(
        &self,
        thread: Arc<dyn Thread>,
        session_id: &SessionId,
        resumed: ResumeState,
        servers: Vec<Arc<McpConnection>>,
        place: OwnedSemaphorePermit,
    ) -> Arc<Conversation> {
        self.credentials.bind(&thread.facts().id, session_id.as_str());
        let conversation = Conversation::open(thread, session_id.clone(), resumed, &self.shared);
        conversation.take_place(place);
        self.live().insert(conversation.id.clone(), Arc::clone(&conversation));
        self.mcp_servers.started(&conversation.id, servers);
        conversation
    }

    /// Stores a new conversation on disk, then makes its thread a live one.
    ///
    /// # Errors
    /// `InsufficientStorage` where it cannot be stored: a client must not rely on a name that the
    /// next process does not know. The thread is closed.
    pub(super) fn adopt_new(
        &self,
        thread: Arc<dyn Thread>,
        session_id: &SessionId,
        resumed: ResumeState,
        servers: Vec<Arc<McpConnection>>,
        place: OwnedSemaphorePermit,
    ) -> Result<Arc<Conversation>, Error> {
        let ResumeState { created_at, sandbox, approval_policy, .. } = resumed;
        let created_at = created_at.unwrap_or_else(Utc::now);
        let facts = thread.facts();
        let stored = StoredConversation {
            session_id: session_id.clone(),
            conversation_id: ConversationId::new(&facts.id),
            cwd: facts.cwd.clone(),
            defaults: Settings { model: facts.model.clone(), sandbox, approval_policy },
            model_provider: facts.model_provider.clone(),
            owner: resumed.owner.clone(),
            created_at,
            archived: false,
        };
        if let Err(error) = self.sessions.insert(stored) {
            self.shared.shutdown.spawn(async move {
                thread.close().await;
            });
            return Err(not_stored("session_id: the conversation", &error));
        }
        let resumed = ResumeState { created_at: Some(created_at), ..resumed };
        Ok(self.adopt(thread, session_id, resumed, servers, place))
    }

    /// Removes a conversation that has ended. Another one under its name stays.
    pub(super) fn remove(&self, conversation: &Arc<Conversation>) {
        self.live().retain(|_, live| !Arc::ptr_eq(live, conversation));
        conversation.leave();
        self.credentials.unbind(conversation.id.as_str());
        self.names()
            .retain(|_, cell| cell.get().is_none_or(|live| !Arc::ptr_eq(live, conversation)));
    }

    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<ConversationId, Arc<Conversation>>> {
        self.live.lock()
    }

    pub(super) fn names(&self) -> MutexGuard<'_, HashMap<SessionId, Cell>> {
        self.names.lock()
    }
}

/// The error of a conversation that must be resumed first.
pub(super) fn archived(id: &ConversationId) -> Error {
    Error::new(Kind::NotFound, format!("conversation {id} is in the archive: resume it first"))
}

/// The error of an unknown id.
pub fn not_found(id: &ConversationId) -> Error {
    Error::new(Kind::NotFound, format!("no conversation has the id {id}"))
}
