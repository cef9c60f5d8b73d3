//! The tool servers (MCP) of conversations: those that a caller connected for all of its conversations
//! that start afterwards, and those of single conversations. Kept until the conversation is archived,
//! or for the life of the process, so that a conversation that was evicted resumes with its own.
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

/// The largest number of servers of one conversation, or of the new ones of a caller.
const MAX_SERVERS: usize = 16;
/// The largest number of tools of a server.
const MAX_TOOLS: usize = 256;
/// The largest size of the names and descriptions of a server's tools, together, in bytes. Each model
/// call of a conversation holds them.
const MAX_TOOL_BYTES: usize = 256 << 10;
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

/// Servers by name. Conversations share them.
type ServerSet = BTreeMap<String, Arc<McpConnection>>;

/// The conversations that a server is for.
#[derive(Debug, Clone, Copy)]
pub enum McpScope<'a> {
    /// One.
    Conversation(&'a ConversationRef),
    /// Those of this caller that start from now on.
    New(&'a str),
}

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
    /// The servers of conversations that start, by caller.
    for_new: HashMap<String, ServerSet>,
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

    /// Tries a server out and connects it. It replaces one of the same name in its scope.
    ///
    /// # Errors
    /// `InvalidRequest` where the configuration has a server of that name; `Overloaded` where there
    /// are too many servers or trials; `TooLarge` where it has too many tools; `Forbidden` where its address is not allowed; propagates
    /// `EngineError`.
    pub async fn connect(
        &self,
        of: McpScope<'_>,
        server: McpServer,
    ) -> Result<Arc<McpConnection>, Error> {
        if self.engine.reserved_mcp_names().contains(&server.name) {
            return Err(Error::invalid(format!(
                "server_config.name: {} belongs to a server of the gateway's configuration; expected \
                 another name",
                server.name
            )));
        }
        self.check_room(of, &server.name)?;
        let connected = Arc::new(self.try_out(of, server).await?);
        let _update = self.update_lock.lock().await;
        let name = connected.server.name.clone();
        self.check_room(of, &name)?;
        let replaced = self.insert(of, Arc::clone(&connected));
        if let McpScope::Conversation(ConversationRef::Live(conversation)) = of
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

    /// Disconnects a server: from one conversation; or from a caller's new ones and from those of its
    /// conversations that have it. `find` finds a conversation, if the caller may use it. Returns whether
    /// there was one.
    ///
    /// # Errors
    /// Propagates `EngineError`.
    pub async fn disconnect(
        &self,
        of: McpScope<'_>,
        name: &str,
        find: impl Fn(&ConversationId) -> Option<ConversationRef>,
    ) -> Result<bool, Error> {
        let _update = self.update_lock.lock().await;
        let mut found = false;
        let having: Vec<ConversationId> = {
            let mut sets = self.sets.lock();
            if let McpScope::New(caller) = of
                && let Some(set) = sets.for_new.get_mut(caller)
            {
                found = set.remove(name).is_some();
            }
            let with_it = sets.by_conversation.iter().filter(|(_, set)| set.contains_key(name));
            with_it.map(|(id, _)| id.clone()).collect()
        };
        for id in having {
            let known = match of {
                McpScope::Conversation(known) if *known.id() == id => known.clone(),
                McpScope::Conversation(_) => continue,
                McpScope::New(_) => match find(&id) {
                    Some(known) => known,
                    None => continue,
                },
            };
            if let Some(set) = self.sets.lock().by_conversation.get_mut(&id) {
                found |= set.remove(name).is_some();
            }
            let ConversationRef::Live(conversation) = known else { continue };
            match self.push(&conversation).await {
                // It ended meanwhile, and its servers with it.
                Err(_) if conversation.lock().closed => {}
                pushed => pushed?,
            }
        }
        Ok(found)
    }

    /// Forgets the servers of a conversation that is archived.
    pub(super) fn forget(&self, id: &ConversationId) {
        self.sets.lock().by_conversation.remove(id);
    }

    /// The servers of a conversation, by name.
    pub fn of(&self, id: &ConversationId) -> Vec<Arc<McpConnection>> {
        let sets = self.sets.lock();
        let set = sets.by_conversation.get(id);
        set.map(|set| set.values().cloned().collect()).unwrap_or_default()
    }

    /// The servers of a caller's conversations that start from now on, by name.
    pub fn for_new(&self, caller: &str) -> Vec<Arc<McpConnection>> {
        self.sets
            .lock()
            .for_new
            .get(caller)
            .into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
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

    /// The servers of a conversation that starts, or is resumed under its id; `owner` is its owner.
    pub(super) fn for_start(
        &self,
        id: Option<&ConversationId>,
        owner: Option<&str>,
    ) -> Vec<Arc<McpConnection>> {
        let sets = self.sets.lock();
        let own = id.and_then(|id| sets.by_conversation.get(id));
        let set = own.or_else(|| sets.for_new.get(owner?));
        set.into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Records the servers that a conversation has started with.
    pub(super) fn started(&self, id: &ConversationId, servers: Vec<Arc<McpConnection>>) {
        if !servers.is_empty() {
            let servers = servers.into_iter().map(|one| (one.server.name.clone(), one)).collect();
            self.sets.lock().by_conversation.entry(id.clone()).or_insert(servers);
        }
    }

    /// # Errors
    /// `Overloaded` where the set is full.
    fn check_room(&self, of: McpScope<'_>, name: &str) -> Result<(), Error> {
        let sets = self.sets.lock();
        let set = match of {
            McpScope::Conversation(known) => sets.by_conversation.get(known.id()),
            McpScope::New(caller) => sets.for_new.get(caller),
        };
        if set.is_some_and(|set| set.len() >= MAX_SERVERS && !set.contains_key(name)) {
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
    async fn try_out(&self, of: McpScope<'_>, server: McpServer) -> Result<McpConnection, Error> {
        let _trial = self.trials.try_acquire().map_err(|_| {
            Error::new(Kind::Overloaded, "too many MCP servers are being started; try again soon")
        })?;
        let cwd = match of {
            McpScope::Conversation(known) => known.cwd(),
            McpScope::New(_) => &self.root,
        };
        let server = self.via_egress(server).await?;
        let tools = self.engine.probe_mcp(server.clone(), Path::to_owned(cwd)).await;
        let tools = tools.map_err(|error| self.unmask(error))?;
        check_size(&server.name, &tools)?;
        Ok(McpConnection { server, tools, connected_at: Utc::now() })
    }

    /// Adds a server to a set. Returns the one of the same name that it replaces.
    fn insert(
        &self,
        of: McpScope<'_>,
        connected: Arc<McpConnection>,
    ) -> Option<Arc<McpConnection>> {
        let mut sets = self.sets.lock();
        let set = match of {
            McpScope::Conversation(known) => {
                sets.by_conversation.entry(known.id().clone()).or_default()
            }
            McpScope::New(caller) => sets.for_new.entry(caller.to_owned()).or_default(),
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
            EngineError::NotFound(_) | EngineError::NoActiveTurn | EngineError::NoSpace(_) => error,
        }
    }
}

/// Checks the tools of a server. Each conversation that has it holds them, and so does each of its model
/// calls.
fn check_size(name: &str, tools: &[McpTool]) -> Result<(), Error> {
    let size = |tool: &McpTool| tool.name.len() + tool.description.as_deref().map_or(0, str::len);
    let bytes: usize = tools.iter().map(size).sum();
    if tools.len() <= MAX_TOOLS && bytes <= MAX_TOOL_BYTES {
        return Ok(());
    }
    Err(Error::new(
        Kind::TooLarge,
        format!(
            "server_config: expected a server with at most {MAX_TOOLS} tools, whose names and \
             descriptions have at most {MAX_TOOL_BYTES} bytes together, got {} tools with {bytes} \
             bytes from {name}",
            tools.len()
        ),
    ))
}

/// The servers as core takes them.
pub(super) fn specs(servers: &[Arc<McpConnection>]) -> Vec<McpServer> {
    servers.iter().map(|connected| connected.server.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_of_a_server_are_bounded() {
        let tool = |bytes: usize| McpTool {
            name: "t".to_owned(),
            description: Some("x".repeat(bytes - 1)),
        };
        for (count, bytes, expected) in [
            (MAX_TOOLS, 1024, true),
            (MAX_TOOLS + 1, 1, false),
            (1, MAX_TOOL_BYTES, true),
            (1, MAX_TOOL_BYTES + 1, false),
        ] {
            assert_eq!(check_size("s", &vec![tool(bytes); count]).is_ok(), expected, "{count}");
        }
    }
}
