//! [`App`]: the state that requests share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineFacts;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::bridge::call_log::CallLog;
use crate::bridge::credentials::Credentials;
use crate::config::Config;
use crate::conversation::Conversation;
use crate::conversation::id::Seq;
use crate::conversation::registry::Registry;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::Proxies;
use crate::shutdown::CountGuard;
use crate::shutdown::Shutdown;
use crate::stream::EventReader;
use crate::stream::ReadOptions;
use crate::stream::StreamEnd;
use crate::stream::span::StreamSpan;
use crate::terminal::Terminals;
use crate::web::connections::Connections;

/// The limit on one-off commands and patches that run at the same time, over all clients.
const MAX_COMMANDS: usize = 32;

/// The components of an [`App`].
pub struct Components {
    /// The configuration.
    pub config: Config,
    /// Starts conversations, commands and terminals.
    pub engine: Arc<dyn Engine>,
    /// The conversations of this process.
    pub conversations: Arc<Registry>,
    /// The provider keys of logged-in sessions.
    pub credentials: Credentials,
    /// The log of recent model calls.
    pub model_calls: CallLog,
    /// The terminals of this process.
    pub terminals: Terminals,
    /// The upstreams of reverse calls.
    pub proxies: Proxies,
    /// The shutdown signals.
    pub shutdown: Shutdown,
}

impl std::fmt::Debug for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Components").finish_non_exhaustive()
    }
}

/// The state that requests share.
#[derive(Debug)]
pub struct App {
    components: Components,
    started: Instant,
    streams: Arc<AtomicUsize>,
    connections: Arc<Connections>,
    commands: Arc<Semaphore>,
}

impl App {
    /// Builds the state. Starts no tasks.
    pub fn new(components: Components) -> Self {
        let limits = components.config.server.clone();
        let connections = Connections::new(limits, components.shutdown.clone());
        Self {
            components,
            started: Instant::now(),
            streams: Arc::default(),
            connections,
            commands: Arc::new(Semaphore::new(MAX_COMMANDS)),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.components.config
    }

    /// Returns the engine's version, model and sandbox.
    pub fn facts(&self) -> &EngineFacts {
        self.components.engine.facts()
    }

    /// Returns the engine.
    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.components.engine
    }

    /// Returns the conversations of this process.
    pub fn conversations(&self) -> &Registry {
        &self.components.conversations
    }

    /// Returns the provider keys of logged-in sessions.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.components.credentials
    }

    /// Returns the log of recent model calls.
    pub fn model_calls(&self) -> &CallLog {
        &self.components.model_calls
    }

    /// Returns the terminals of this process.
    pub(crate) fn terminals(&self) -> &Terminals {
        &self.components.terminals
    }

    /// Returns the upstreams of reverse calls.
    pub(crate) fn proxies(&self) -> &Proxies {
        &self.components.proxies
    }

    /// Returns the shutdown signals.
    pub fn shutdown(&self) -> &Shutdown {
        &self.components.shutdown
    }

    /// Returns the start time.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns whether draining has not begun. Before start-up is complete, no request is accepted.
    pub fn is_ready(&self) -> bool {
        !self.shutdown().drain.is_cancelled()
    }

    /// Returns whether clients should send further requests. Shutdown tells them before draining
    /// begins.
    pub fn is_staying(&self) -> bool {
        !self.shutdown().leaving.is_cancelled()
    }

    /// Returns the number of open event streams.
    pub fn open_streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Counts an event stream until the guard is dropped.
    pub(crate) fn stream_guard(&self) -> CountGuard {
        CountGuard::new(&self.streams)
    }

    /// Runs `work` in a task of its own, so that it finishes even if the client disconnects.
    ///
    /// # Errors
    /// Any error that `work` returns; `Internal` if it panics.
    pub(crate) async fn detached<T, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (sender, done) = oneshot::channel();
        let work = work(Arc::clone(self));
        // Outside the request's span: tasks that core starts for a conversation would keep it open.
        self.shutdown().spawn(async move {
            let _ = sender.send(work.await);
        });
        done.await.map_err(|_| Error::new(Kind::Internal, "the operation panicked"))?
    }

    /// Returns the open connections of the listener.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Takes the permit of a one-off command.
    ///
    /// # Errors
    /// `Overloaded` if all are taken; `Unavailable` while the process drains.
    pub(crate) fn command_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if !self.is_ready() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        Arc::clone(&self.commands).try_acquire_owned().map_err(|_| {
            let detail = format!(
                "expected at most {MAX_COMMANDS} commands and patches at a time; try again later"
            );
            Error::new(Kind::Overloaded, detail)
        })
    }

    /// Returns a reader of a conversation's events after `after`.
    pub(crate) fn event_reader(
        &self,
        conversation: &Conversation,
        after: Seq,
        until: StreamEnd,
        raw: bool,
    ) -> EventReader {
        EventReader::new(ReadOptions {
            cursor: conversation.log().cursor(after),
            conversation_id: conversation.id().clone(),
            until,
            raw,
            heartbeat: self.config().turns.heartbeat,
            drain: self.shutdown().drain.clone(),
            span: StreamSpan::begin(),
        })
    }
}
