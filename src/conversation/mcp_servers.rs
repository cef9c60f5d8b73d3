//! The tool servers (MCP) of conversations: those connected for every conversation that starts
//! afterwards, and those of single conversations. Kept for the life of the process, so that a
//! conversation that was evicted resumes with its own.
//!
//! A server is tried out before it is connected. Then core starts one for each conversation, with
//! its next turn, and ends it with the conversation.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineError;
use codex_gateway_engine::mcp::McpServer;
use codex_gateway_engine::mcp::McpState;
use codex_gateway_engine::mcp::McpTool;
use codex_gateway_engine::mcp::McpTransport;
use tokio::sync::Semaphore;

use super::conversation_ref::ConversationRef;
use super::handle::Conversation;
use super::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::mcp_egress::EgressProxy;
use crate::sync::Mutex;

/// The largest number of servers of one conversation, or of all.
const MAX_SERVERS: usize = 16;
/// The largest number of concurrent trials. Further ones are refused.
const MAX_TRIALS: usize = 8;

/// A connected server.
#[derive(Debug, Clone)]
pub struct McpConnection {
    /// How it is started.
    pub server: McpServer,
    /// The tools that it listed.
    pub tools: Vec<McpTool>,
    /// The time of the connection.
    pub connected_at: DateTime<Utc>,
}

/// Servers by name.
type ServerSet = BTreeMap<String, McpConnection>;

/// The tool servers of this process.
pub struct McpServers {
    engine: Arc<dyn Engine>,
    /// The egress proxy to servers behind a URL, where these may not be private.
    egress: Option<EgressProxy>,
    /// The folder of trials that belong to no conversation.
    root: PathBuf,
    trials: Semaphore,
    sets: Mutex<Sets>,
    /// Conversations receive one change after the other.
    update_lock: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Sets {
    /// The servers of a conversation that starts.
    for_new: ServerSet,
    /// The servers of conversations that have ever had one.
    by_conversation: HashMap<ConversationId, ServerSet>,
}

impl std::fmt::Debug for McpServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpServers").finish_non_exhaustive()
    }
}

impl McpServers {
    pub(super) fn new(engine: Arc<dyn Engine>, root: PathBuf, egress: Option<EgressProxy>) -> Self {
        Self {
            engine,
            egress,
            root,
            trials: Semaphore::new(MAX_TRIALS),
            sets: Mutex::default(),
            update_lock: tokio::sync::Mutex::default(),
        }
    }

    /// Tries a server out and connects it, to one conversation or to those that start from now on.
    /// It replaces one of the same name.
    ///
    /// # Errors
    /// `InvalidRequest` where the configuration has a server of that name; `Overloaded` where there
    /// are too many servers or trials; `Forbidden` where its address is not allowed; propagates
    /// `EngineError`.
    pub async fn connect(
        &self,
        of: Option<&ConversationRef>,
        server: McpServer,
    ) -> Result<McpConnection, Error> {
        if self.engine.reserved_mcp_names().contains(&server.name) {
            return Err(Error::invalid(format!(
                "server_config.name: {} belongs to a server of the gateway's configuration; expected \
                 another name",
                server.name
            )));
        }
        self.check_room(of, &server.name)?;
        let connected = self.try_out(of, server).await?;
        let _update = self.update_lock.lock().await;
        let name = connected.server.name.clone();
        self.check_room(of, &name)?;
        let replaced = self.insert(of, connected.clone());
        if let Some(ConversationRef::Live(conversation)) = of
            && let Err(error) = self.push(conversation).await
            // Evicted meanwhile, it gets its servers when it is resumed.
            && !conversation.lock().closed
        {
            if let Some(set) = self.sets.lock().by_conversation.get_mut(&conversation.id) {
                match replaced {
                    Some(replaced) => set.insert(name, replaced),
                    None => set.remove(&name),
                };
            }
            return Err(error);
        }
        Ok(connected)
    }

    /// Disconnects a server, from one conversation, or from all and from those that start from now
    /// on. `live` finds a conversation. Returns whether there was one.
    ///
    /// # Errors
    /// Propagates `EngineError`.
    pub async fn disconnect(
        &self,
        of: Option<&ConversationRef>,
        name: &str,
        live: impl Fn(&ConversationId) -> Option<Arc<Conversation>>,
    ) -> Result<bool, Error> {
        let _update = self.update_lock.lock().await;
        let mut found = false;
        let affected: Vec<ConversationId> = {
            let mut sets = self.sets.lock();
            let only = of.map(ConversationRef::id);
            if only.is_none() {
                found = sets.for_new.remove(name).is_some();
            }
            sets.by_conversation
                .iter_mut()
                .filter(|(id, _)| only.is_none_or(|only| only == *id))
                .filter_map(|(id, set)| set.remove(name).map(|_| id.clone()))
                .collect()
        };
        found |= !affected.is_empty();
        for conversation in affected.iter().filter_map(live) {
            match self.push(&conversation).await {
                // It ended meanwhile, and its servers with it.
                Err(_) if conversation.lock().closed => {}
                pushed => pushed?,
            }
        }
        Ok(found)
    }

    /// The servers of a conversation, by name.
    pub fn of(&self, id: &ConversationId) -> Vec<McpConnection> {
        let sets = self.sets.lock();
        let set = sets.by_conversation.get(id);
        set.map(|set| set.values().cloned().collect()).unwrap_or_default()
    }

    /// The servers of conversations that start from now on, by name.
    pub fn for_new(&self) -> Vec<McpConnection> {
        self.sets.lock().for_new.values().cloned().collect()
    }

    /// The state of a conversation's servers, by name.
    pub fn states(&self, of: &ConversationRef) -> HashMap<String, McpState> {
        let mut states = match of {
            ConversationRef::Live(conversation) => conversation.thread.mcp_states(),
            ConversationRef::Stored(..) => HashMap::new(),
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

    /// The servers of a conversation that starts, or is resumed under its id.
    pub(super) fn for_start(&self, id: Option<&ConversationId>) -> Vec<McpConnection> {
        let sets = self.sets.lock();
        let own = id.and_then(|id| sets.by_conversation.get(id));
        own.unwrap_or(&sets.for_new).values().cloned().collect()
    }

    /// Records the servers that a conversation has started with.
    pub(super) fn started(&self, id: &ConversationId, servers: Vec<McpConnection>) {
        if !servers.is_empty() {
            let servers = servers.into_iter().map(|one| (one.server.name.clone(), one)).collect();
            self.sets.lock().by_conversation.entry(id.clone()).or_insert(servers);
        }
    }

    /// # Errors
    /// `Overloaded` where the set is full.
    fn check_room(&self, of: Option<&ConversationRef>, name: &str) -> Result<(), Error> {
        let sets = self.sets.lock();
        let none = ServerSet::new();
        let set = match of {
            Some(known) => sets.by_conversation.get(known.id()).unwrap_or(&none),
            None => &sets.for_new,
        };
        if set.len() >= MAX_SERVERS && !set.contains_key(name) {
            return Err(Error::new(
                Kind::Overloaded,
                format!(
                    "expected at most {MAX_SERVERS} connected MCP servers; disconnect one first"
                ),
            ));
        }
        Ok(())
    }

    /// Starts a server in the conversation's folder, lists its tools and ends it.
    async fn try_out(
        &self,
        of: Option<&ConversationRef>,
        server: McpServer,
    ) -> Result<McpConnection, Error> {
        let _trial = self.trials.try_acquire().map_err(|_| {
            Error::new(Kind::Overloaded, "too many MCP servers are being started; try again soon")
        })?;
        let cwd = of.map_or(self.root.as_path(), ConversationRef::cwd);
        let server = self.via_egress(server).await?;
        let tools = self.engine.probe_mcp(server.clone(), Path::to_owned(cwd)).await;
        let tools = tools.map_err(|error| self.unmask(error))?;
        Ok(McpConnection { server, tools, connected_at: Utc::now() })
    }

    /// Adds a server to a set. Returns the one of the same name that it replaces.
    fn insert(
        &self,
        of: Option<&ConversationRef>,
        connected: McpConnection,
    ) -> Option<McpConnection> {
        let mut sets = self.sets.lock();
        let set = match of {
            Some(known) => sets.by_conversation.entry(known.id().clone()).or_default(),
            None => &mut sets.for_new,
        };
        set.insert(connected.server.name.clone(), connected)
    }

    /// Pushes its servers to a live conversation.
    async fn push(&self, conversation: &Conversation) -> Result<(), Error> {
        let servers = specs(&self.of(&conversation.id));
        Ok(conversation.thread.set_mcp_servers(servers).await?)
    }

    /// Checks the URL of a server, and replaces it by one that leads through the egress proxy.
    async fn via_egress(&self, mut server: McpServer) -> Result<McpServer, Error> {
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

    /// Puts the real URL of a server back into core's error.
    fn unmask(&self, error: EngineError) -> EngineError {
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
}

/// The servers as core takes them.
pub(super) fn specs(servers: &[McpConnection]) -> Vec<McpServer> {
    servers.iter().map(|connected| connected.server.clone()).collect()
}
