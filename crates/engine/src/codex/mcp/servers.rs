//! The tool servers of one live conversation.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use codex_core::CodexThread;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::McpServerRefreshConfig;
use codex_protocol::protocol::McpStartupStatus;
use codex_protocol::protocol::Op;
use serde::Serialize;
use serde_json::Value;

use super::config;
use crate::EngineError;
use crate::mcp::McpServer;
use crate::mcp::McpState;

/// The servers of one live conversation.
#[derive(Debug)]
pub(in crate::codex) struct Servers {
    /// Names in the configuration that the conversation was started with, where core keeps them.
    initial: Vec<String>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    current: Vec<McpServer>,
    /// Names sent to core by the last refresh.
    sent: Vec<String>,
    states: HashMap<String, McpState>,
    /// A server has ended: the next turn restarts them.
    stale: bool,
}

impl Servers {
    pub(in crate::codex) fn new(servers: &[McpServer]) -> Self {
        Self {
            initial: servers.iter().map(|server| server.name.clone()).collect(),
            inner: Mutex::new(Inner { current: servers.to_vec(), ..Inner::default() }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the servers of the next turn.
    pub(in crate::codex) fn set(&self, servers: Vec<McpServer>) {
        let mut inner = self.lock();
        inner.states.clear();
        inner.current = servers;
        inner.stale = false;
    }

    pub(in crate::codex) fn states(&self) -> HashMap<String, McpState> {
        self.lock().states.clone()
    }

    /// Returns whether a server has ended since the last call.
    pub(in crate::codex) fn take_stale(&self) -> bool {
        std::mem::take(&mut self.lock().stale)
    }

    /// Updates the state of a server from an event.
    pub(in crate::codex) fn observe(&self, event: &EventMsg) {
        let (server, state, ended) = match event {
            EventMsg::McpStartupUpdate(update) => {
                let state = match &update.status {
                    McpStartupStatus::Starting => McpState::Starting,
                    McpStartupStatus::Ready => McpState::Ready,
                    McpStartupStatus::Failed { error, .. } => McpState::Failed(error.clone()),
                    McpStartupStatus::Cancelled => {
                        McpState::Failed("its start was cancelled".to_owned())
                    }
                };
                (&update.server, state, false)
            }
            EventMsg::McpToolCallEnd(call) => match &call.result {
                Err(error) if is_gone(error) => {
                    (&call.invocation.server, McpState::Failed(error.clone()), true)
                }
                Ok(_) | Err(_) => return,
            },
            _ => return,
        };
        let mut inner = self.lock();
        if inner.current.iter().any(|known| known.name == *server) {
            inner.states.insert(server.clone(), state);
            inner.stale |= ended;
        }
    }

    /// Updates core's configuration. Returns the operation that starts the servers with the next
    /// turn.
    pub(in crate::codex) async fn refresh(&self, thread: &CodexThread) -> Result<Op, EngineError> {
        let mut config = Box::new(thread.config().await.as_ref().clone());
        let (current, mut replaced) = {
            let mut inner = self.lock();
            let current = inner.current.clone();
            let names = current.iter().map(|server| server.name.clone()).collect();
            (current, std::mem::replace(&mut inner.sent, names))
        };
        replaced.extend(self.initial.iter().cloned());
        config::set_servers(&mut config, &current, &replaced)?;
        Box::pin(thread.refresh_runtime_config((*config).clone())).await;
        let runtime = Box::pin(thread.runtime_mcp_config(&config)).await;
        Ok(Op::RefreshMcpServers {
            config: McpServerRefreshConfig {
                mcp_servers: json(codex_mcp::configured_mcp_servers(&runtime))?,
                mcp_oauth_credentials_store_mode: json(config.mcp_oauth_credentials_store_mode)?,
                auth_keyring_backend_kind: json(config.auth_keyring_backend_kind())?,
            },
        })
    }
}

fn json(value: impl Serialize) -> Result<Value, EngineError> {
    serde_json::to_value(value).map_err(|error| EngineError::Failed(error.to_string()))
}

/// Whether an error says that the server has closed the connection.
fn is_gone(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    ["transport closed", "connection closed", "broken pipe", "channel closed"]
        .iter()
        .any(|words| error.contains(words))
}
