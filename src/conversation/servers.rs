//! Which tool servers (MCP) conversations have: those that were connected for every conversation that
//! starts afterwards, and those of single conversations. Kept for the life of the process, so that a
//! conversation that is put to rest comes back with its own.
//!
//! A server is tried out before it is taken in. Then core starts one for each conversation, with its
//! next turn, and ends it with the conversation.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::mcp::McpServer;
use codex_gateway_engine::mcp::McpState;
use codex_gateway_engine::mcp::McpTool;
use codex_gateway_engine::mcp::McpTransport;
use tokio::sync::Semaphore;

use super::Conversation;
use super::ConversationRef;
use super::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::mcp_egress::EgressProxy;
use crate::sync::Mutex;

/// Servers of one conversation, or of all.
const MAX_SERVERS: usize = 16;
/// Servers that are being tried out; more are refused.
const MAX_TRIALS: usize = 8;

/// A server that was tried out and taken in.
#[derive(Debug, Clone)]
pub struct Connected {
    /// How it is started.
    pub server: McpServer,
    /// What it listed.
    pub tools: Vec<McpTool>,
    /// When.
    pub connected_at: DateTime<Utc>,
}

/// By name.
type Set = BTreeMap<String, Connected>;

/// The servers of this process.
pub struct Servers {
    engine: Arc<dyn Engine>,
    /// Where core reaches those behind a URL, where they may not be private.
    egress: Option<EgressProxy>,
    /// Where those are tried out that belong to no conversation.
    root: PathBuf,
    trials: Semaphore,
    sets: Mutex<Sets>,
    /// Conversations are told one change after the other.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Sets {
    /// What a conversation gets when it starts.
    for_new: Set,
    /// What conversations have that have ever had one.
    of: HashMap<ConversationId, Set>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

impl Servers {
    /// None yet.
    pub(super) fn new(engine: Arc<dyn Engine>, root: PathBuf, egress: Option<EgressProxy>) -> Self {
        let trials = Semaphore::new(MAX_TRIALS);
        Self {
            engine,
            egress,
            root,
            trials,
            sets: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
        }
    }

    /// Tries a server out and takes it in, for one conversation or for those that start from now on. It
    /// replaces one of the same name.
    ///
    /// # Errors
    /// `InvalidRequest` where the name is taken by the configuration; `Overloaded` where there are
    /// too many; what the trial says.
    pub async fn connect(
        &self,
        of: Option<&ConversationRef>,
        server: McpServer,
    ) -> Result<Connected, Error> {
        if self.engine.reserved_mcp_names().contains(&server.name) {
            return Err(Error::invalid(format!(
                "server_config.name: {} belongs to a server of the gateway's configuration; expected \
                 another name",
                server.name
            )));
        }
        self.has_room(of, &server.name)?;
        let _trial = self.trials.try_acquire().map_err(|_| {
            Error::new(Kind::Overloaded, "too many MCP servers are being started; try again soon")
        })?;
        let cwd = of.map_or(self.root.as_path(), ConversationRef::cwd);
        let server = self.through_the_door(server).await?;
        let tools = self.engine.probe_mcp(server.clone(), Path::to_owned(cwd)).await;
        let tools = tools.map_err(|error| self.plain(error))?;
        let connected = Connected { server, tools, connected_at: Utc::now() };

        let _telling = self.telling.lock().await;
        self.has_room(of, &connected.server.name)?;
        let name = connected.server.name.clone();
        let replaced = {
            let mut sets = self.lock();
            match of {
                Some(known) => sets.of.entry(known.id().clone()).or_default(),
                None => &mut sets.for_new,
            }
            .insert(name.clone(), connected.clone())
        };
        if let Some(ConversationRef::Live(conversation)) = of
            && let Err(error) = self.tell(conversation).await
            // Put to rest meanwhile, it gets its servers when it comes back.
            && !conversation.lock().closed
        {
            let mut sets = self.lock();
            if let Some(set) = sets.of.get_mut(&conversation.id) {
                match replaced {
                    Some(replaced) => set.insert(name, replaced),
                    None => set.remove(&name),
                };
            }
            return Err(error);
        }
        Ok(connected)
    }

    fn has_room(&self, of: Option<&ConversationRef>, name: &str) -> Result<(), Error> {
        let sets = self.lock();
        let none = Set::new();
        let set = match of {
            Some(known) => sets.of.get(known.id()).unwrap_or(&none),
            None => &sets.for_new,
        };
        if set.len() >= MAX_SERVERS && !set.contains_key(name) {
            return Err(Error::new(
                Kind::Overloaded,
                format!("{MAX_SERVERS} MCP servers are connected already; disconnect one first"),
            ));
        }
        Ok(())
    }

    /// Takes a server away: from one conversation, or from all and from those that start from now on.
    /// `live` finds a conversation. Says whether there was one.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn disconnect(
        &self,
        of: Option<&ConversationRef>,
        name: &str,
        live: impl Fn(&ConversationId) -> Option<Arc<Conversation>>,
    ) -> Result<bool, Error> {
        let _telling = self.telling.lock().await;
        let mut found = false;
        let affected: Vec<ConversationId> = {
            let mut sets = self.lock();
            let only = of.map(ConversationRef::id);
            if only.is_none() {
                found = sets.for_new.remove(name).is_some();
            }
            sets.of
                .iter_mut()
                .filter(|(id, _)| only.is_none_or(|only| only == *id))
                .filter_map(|(id, set)| set.remove(name).map(|_| id.clone()))
                .collect()
        };
        found |= !affected.is_empty();
        for conversation in affected.iter().filter_map(live) {
            match self.tell(&conversation).await {
                // It ended meanwhile, and its servers with it.
                Err(_) if conversation.lock().closed => {}
                told => told?,
            }
        }
        Ok(found)
    }

    async fn tell(&self, conversation: &Conversation) -> Result<(), Error> {
        let servers = self.of(&conversation.id).into_iter().map(|one| one.server).collect();
        Ok(conversation.thread.set_mcp_servers(servers).await?)
    }

    /// What a conversation has, by name.
    pub fn of(&self, id: &ConversationId) -> Vec<Connected> {
        self.lock().of.get(id).map(|set| set.values().cloned().collect()).unwrap_or_default()
    }

    /// What conversations get that start from now on, by name.
    pub fn for_new(&self) -> Vec<Connected> {
        self.lock().for_new.values().cloned().collect()
    }

    /// What became of the servers of a conversation.
    pub fn states(&self, of: &ConversationRef) -> HashMap<String, McpState> {
        let mut states = match of {
            ConversationRef::Live(conversation) => conversation.thread.mcp_states(),
            ConversationRef::Stored(_) => HashMap::new(),
        };
        if let Some(egress) = &self.egress {
            for state in states.values_mut() {
                if let McpState::Failed(error) = state {
                    *error = egress.unmask(error);
                }
            }
        }
        states
    }

    /// A server as core is told of it.
    async fn through_the_door(&self, mut server: McpServer) -> Result<McpServer, Error> {
        if let (Some(egress), McpTransport::Http { url, .. }) =
            (&self.egress, &mut server.transport)
        {
            if let Ok(uri) = url.parse() {
                egress.admit(&uri).await?;
            }
            *url = egress.masked_url(url);
        }
        Ok(server)
    }

    /// What core says of a server, with its real URL.
    fn plain(&self, error: EngineError) -> EngineError {
        let Some(egress) = &self.egress else { return error };
        match error {
            EngineError::Rejected(text) => EngineError::Rejected(egress.unmask(&text)),
            EngineError::ToolServer(text) => EngineError::ToolServer(egress.unmask(&text)),
            EngineError::ToolServerTimedOut(text) => {
                EngineError::ToolServerTimedOut(egress.unmask(&text))
            }
            EngineError::Failed(text) => EngineError::Failed(egress.unmask(&text)),
            EngineError::NotFound(_) | EngineError::NoActiveTurn => error,
        }
    }

    /// What a conversation is to have that starts, or comes back under its id.
    pub(super) fn wanted(&self, id: Option<&ConversationId>) -> Vec<Connected> {
        let sets = self.lock();
        let own = id.and_then(|id| sets.of.get(id));
        own.unwrap_or(&sets.for_new).values().cloned().collect()
    }

    /// A conversation has started with these.
    pub(super) fn started(&self, id: &ConversationId, with: Vec<Connected>) {
        if !with.is_empty() {
            let with = with.into_iter().map(|one| (one.server.name.clone(), one)).collect();
            self.lock().of.entry(id.clone()).or_insert(with);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock()
    }
}
