//! Threads that were started before anybody asked for one: a conversation that wants nothing special
//! takes one, and does not wait for core to start.
//!
//! They are of nobody until they are taken: in no list, no log and no count, and without a history. Each
//! has an empty folder, which goes with it when it is not taken.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadSpec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::StartOptions;
use super::registry::Registry;
use super::workspace;
use crate::error::Error;
use crate::shutdown::CountGuard;
use crate::sync::Mutex;

/// How long one waits to be taken. What core read when it started, instructions and logins among it,
/// does not get older than this.
const AGE: Duration = Duration::from_secs(300);
/// How long after one was taken the next is started: whoever took it comes first.
const AFTERWARDS: Duration = Duration::from_millis(20);
/// How long after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Started threads, oldest first.
pub(super) struct Pool {
    size: usize,
    ready: Mutex<VecDeque<Started>>,
    taken: Notify,
    /// Conversations that are being started for somebody who waits.
    awaited: Arc<AtomicUsize>,
}

/// A thread that waits to be taken.
pub(super) struct Started {
    pub(super) thread: Arc<dyn Thread>,
    pub(super) cwd: PathBuf,
    since: Instant,
}

impl Pool {
    pub(super) fn new(size: usize) -> Self {
        Self { size, ready: Mutex::default(), taken: Notify::new(), awaited: Arc::default() }
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Started>> {
        self.ready.lock()
    }

    /// Somebody waits for a conversation to start; the pool stands back for as long as the guard lives.
    pub(super) fn awaited(&self) -> CountGuard {
        CountGuard::new(&self.awaited)
    }

    /// The oldest, for a conversation that wants nothing that was chosen when it was started.
    pub(super) fn take(&self, options: &StartOptions) -> Option<Started> {
        if !options.is_default() {
            return None;
        }
        loop {
            let started = self.ready().pop_front()?;
            self.taken.notify_one();
            // Whoever empties the workspace may have taken its folder, too.
            if started.cwd.is_dir() {
                return Some(started);
            }
        }
    }

    /// One that has waited too long.
    fn stale(&self) -> Option<Started> {
        let mut ready = self.ready();
        if ready.front()?.since.elapsed() < AGE {
            return None;
        }
        ready.pop_front()
    }
}

impl Started {
    /// Ends it: nobody has taken it.
    async fn end(self) {
        self.thread.close().await;
        // Empty, so nothing is lost.
        let _ = tokio::fs::remove_dir(&self.cwd).await;
    }
}

impl Registry {
    /// Keeps the pool full until the process drains.
    pub async fn keep_pool(self: Arc<Self>) {
        let mut pause = Duration::ZERO;
        while !self.drained_within(pause).await {
            pause = self.fill().await;
        }
        let left: Vec<Started> = self.pool.ready().drain(..).collect();
        futures::future::join_all(left.into_iter().map(Started::end)).await;
    }

    /// Waits; less, where the process drains.
    async fn drained_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.shutdown.drain.cancelled()).await.is_ok()
    }

    /// Does what is to be done next. Returns how long to wait after it.
    async fn fill(&self) -> Duration {
        if let Some(stale) = self.pool.stale() {
            stale.end().await;
            return Duration::ZERO;
        }
        if self.pool.ready().len() >= self.pool.size {
            let waited = tokio::time::timeout(AGE / 10, self.pool.taken.notified());
            tokio::select! {
                _ = waited => {}
                () = self.shutdown.drain.cancelled() => {}
            }
            return AFTERWARDS;
        }
        if self.pool.awaited.load(Ordering::Relaxed) > 0 {
            return AFTERWARDS;
        }
        // Not broken off when the process drains: it would leave its folder behind.
        match self.start_ahead().await {
            Ok(started) => {
                self.pool.ready().push_back(started);
                Duration::ZERO
            }
            Err(error) => {
                tracing::warn!(%error, "no conversation can be started ahead");
                AFTER_FAILURE
            }
        }
    }

    async fn start_ahead(&self) -> Result<Started, Error> {
        let cwd = workspace::made(&self.root).await?;
        let spec = ThreadSpec { cwd: cwd.clone(), ..ThreadSpec::default() };
        match self.engine.start(spec).await {
            Ok(thread) => Ok(Started { thread, cwd, since: Instant::now() }),
            Err(error) => {
                let _ = tokio::fs::remove_dir(&cwd).await;
                Err(error.into())
            }
        }
    }
}
