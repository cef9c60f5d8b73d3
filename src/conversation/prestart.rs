//! Pre-started threads: a conversation without special options takes one and does not wait for core
//! to start.
//!
//! Until it is taken, such a thread belongs to no conversation: it is in no list, log or count, and
//! has no history. It has an empty folder, which is removed if the thread is not taken.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use codex_gateway_engine::Engine;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadSpec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::start_options::StartOptions;
use super::workspaces::Workspaces;
use crate::error::Error;
use crate::shutdown::CountGuard;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;

/// The longest time that a thread waits to be taken. Bounds the age of what core read at its start,
/// instructions and logins included.
const MAX_AGE: Duration = Duration::from_secs(300);
/// The pause after a thread was taken, which leaves the processor to its first turn.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);

/// The pre-started threads, oldest first.
pub(super) struct Prestart {
    size: usize,
    engine: Arc<dyn Engine>,
    workspaces: Workspaces,
    shutdown: Shutdown,
    ready: Mutex<VecDeque<PrestartedThread>>,
    taken: Notify,
    /// The number of clients that wait for a conversation to start.
    waiting_clients: Arc<AtomicUsize>,
}

/// A thread that waits to be taken.
pub(super) struct PrestartedThread {
    pub(super) thread: Arc<dyn Thread>,
    pub(super) cwd: PathBuf,
    since: Instant,
}

impl PrestartedThread {
    /// Ends a thread that was not taken.
    async fn end(self) {
        self.thread.close().await;
        // The folder is empty.
        let _ = tokio::fs::remove_dir(&self.cwd).await;
    }
}

impl Prestart {
    pub(super) fn new(
        size: usize,
        engine: Arc<dyn Engine>,
        workspaces: Workspaces,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            size,
            engine,
            workspaces,
            shutdown,
            ready: Mutex::default(),
            taken: Notify::new(),
            waiting_clients: Arc::default(),
        }
    }

    /// Counts a client that waits for a conversation to start. No thread is pre-started meanwhile.
    pub(super) fn waiting_client(&self) -> CountGuard {
        CountGuard::new(&self.waiting_clients)
    }

    /// Takes the oldest thread, if the options are the ones it was started with.
    pub(super) fn take(&self, options: &StartOptions) -> Option<PrestartedThread> {
        if !options.is_default() {
            return None;
        }
        loop {
            let thread = self.ready.lock().pop_front()?;
            self.taken.notify_one();
            // The operator may have removed the folder with the rest of the workspace.
            if thread.cwd.is_dir() {
                return Some(thread);
            }
        }
    }

    /// Pre-starts threads until the process drains.
    pub(super) async fn run(&self) {
        let mut pause = Duration::ZERO;
        while !self.drained_within(pause).await {
            pause = self.step().await;
        }
        let left: Vec<PrestartedThread> = self.ready.lock().drain(..).collect();
        futures::future::join_all(left.into_iter().map(PrestartedThread::end)).await;
    }

    /// Waits for this long, or until the process drains. Returns whether it drains.
    async fn drained_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.shutdown.drain.cancelled()).await.is_ok()
    }

    /// Ends an old thread, waits for one to be taken, or starts one. Returns the pause before the
    /// next step.
    async fn step(&self) -> Duration {
        if let Some(stale) = self.take_stale() {
            stale.end().await;
            return Duration::ZERO;
        }
        if self.ready.lock().len() >= self.size {
            let taken = tokio::time::timeout(MAX_AGE / 10, self.taken.notified());
            tokio::select! {
                _ = taken => {}
                () = self.shutdown.drain.cancelled() => {}
            }
            return PAUSE;
        }
        if self.waiting_clients.load(Ordering::Relaxed) > 0 {
            return PAUSE;
        }
        // Not cancelled when the process drains, because it would leave its folder behind.
        match self.start().await {
            Ok(thread) => {
                self.ready.lock().push_back(thread);
                Duration::ZERO
            }
            Err(error) => {
                tracing::warn!(%error, "a conversation could not be pre-started");
                FAILURE_PAUSE
            }
        }
    }

    fn take_stale(&self) -> Option<PrestartedThread> {
        let mut ready = self.ready.lock();
        if ready.front()?.since.elapsed() < MAX_AGE {
            return None;
        }
        ready.pop_front()
    }

    async fn start(&self) -> Result<PrestartedThread, Error> {
        let cwd = self.workspaces.mkdir().await?;
        let spec = ThreadSpec { cwd: cwd.clone(), ..ThreadSpec::default() };
        match self.engine.start(spec).await {
            Ok(thread) => Ok(PrestartedThread { thread, cwd, since: Instant::now() }),
            Err(error) => {
                let _ = tokio::fs::remove_dir(&cwd).await;
                Err(error.into())
            }
        }
    }
}
