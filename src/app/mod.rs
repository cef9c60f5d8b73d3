//! [`App`]: the state that every request shares, and how it is assembled at start-up.

mod assembly;
mod gauges;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use codex_gateway_engine::EngineFacts;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::assembly::Assembly;
pub use self::assembly::backends;
use crate::bridge::record::Records;
use crate::config::Config;
use crate::conversation::Conversation;
use crate::conversation::id::Seq;
use crate::conversation::registry::Registry;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::Proxies;
use crate::shutdown::CountGuard;
use crate::shutdown::Shutdown;
use crate::stream::ReadOptions;
use crate::stream::StreamEnd;
use crate::stream::span::StreamSpan;
use crate::terminal::Terminals;

/// One-off commands and patches of all clients at a time.
const MAX_COMMANDS: usize = 32;

/// Everything a request needs.
#[derive(Debug)]
pub struct App {
    config: Config,
    facts: EngineFacts,
    conversations: Arc<Registry>,
    model_calls: Records,
    terminals: Terminals,
    proxies: Proxies,
    shutdown: Shutdown,
    started: Instant,
    streams: Arc<AtomicUsize>,
    sockets: Arc<Semaphore>,
    commands: Arc<Semaphore>,
}

impl App {
    /// A gateway over an engine that has started.
    pub fn new(
        config: Config,
        facts: EngineFacts,
        conversations: Registry,
        model_calls: Records,
        terminals: Terminals,
        proxies: Proxies,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let conversations = Arc::new(conversations);
        shutdown.spawn(Arc::clone(&conversations).keep_house());
        shutdown.spawn(Arc::clone(&conversations).keep_pool());
        let sockets = Arc::new(Semaphore::new(config.server.max_connections));
        let app = Arc::new(Self {
            config,
            facts,
            conversations,
            model_calls,
            terminals,
            proxies,
            shutdown,
            started: Instant::now(),
            streams: Arc::default(),
            sockets,
            commands: Arc::new(Semaphore::new(MAX_COMMANDS)),
        });
        gauges::register(&app);
        app
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the engine is.
    pub fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    /// The conversations of this process.
    pub fn conversations(&self) -> &Registry {
        &self.conversations
    }

    /// What model calls were.
    pub fn model_calls(&self) -> &Records {
        &self.model_calls
    }

    /// The terminals of this process.
    pub(crate) fn terminals(&self) -> &Terminals {
        &self.terminals
    }

    /// Where reverse calls go.
    pub(crate) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// The stages of the end.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Since when the process serves.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Draining has not begun. (Before start-up is done, nothing is accepted.)
    pub fn is_ready(&self) -> bool {
        !self.shutdown.drain.is_cancelled()
    }

    /// How many event streams are open.
    pub fn open_streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Counts an event stream for as long as the guard lives.
    pub(crate) fn stream_guard(&self) -> CountGuard {
        CountGuard::new(&self.streams)
    }

    /// Runs something to its end whether or not the client waits for it.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, done) = oneshot::channel();
        // Not inside the request's span: what core starts for a conversation would hold it.
        self.shutdown.spawn(async move {
            let _ = sender.send(work.await);
        });
        done.await.map_err(|_| Error::new(Kind::Internal, "the work was lost"))?
    }

    /// The place of one more WebSocket, if there is one.
    pub(crate) fn socket_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.sockets).try_acquire_owned().ok()
    }

    /// The place of one more one-off command.
    ///
    /// # Errors
    /// `Overloaded` where as many run as may; `Unavailable` while the process drains.
    pub(crate) fn command_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if !self.is_ready() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        Arc::clone(&self.commands).try_acquire_owned().map_err(|_| {
            let expected =
                format!("expected at most {MAX_COMMANDS} commands and patches at a time");
            Error::new(Kind::Overloaded, expected)
        })
    }

    /// A reading of a conversation's events, with this process's heartbeat and end.
    pub(crate) fn reading(
        &self,
        conversation: &Conversation,
        after: Seq,
        until: StreamEnd,
        raw: bool,
    ) -> ReadOptions {
        ReadOptions {
            cursor: conversation.log().cursor(after),
            conversation_id: conversation.id().clone(),
            until,
            raw,
            heartbeat: self.config.turns.heartbeat,
            drain: self.shutdown.drain.clone(),
            span: StreamSpan::begin(),
        }
    }
}
