//! Shutdown in three stages: leave (tell clients), drain (finish what runs), then force (drop what
//! is left).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The pause after a failed accept, which would otherwise spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The signals of the three stages, and the tasks that shutdown waits for. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// First stage: the gateway reports that it is not ready, and still accepts requests.
    pub leaving: CancellationToken,
    /// Second stage: no new work is accepted, streams end with a notice, turns are interrupted.
    pub drain: CancellationToken,
    /// Third stage: remaining connections and tasks are dropped.
    pub force: CancellationToken,
    tasks: TaskTracker,
    connections: Arc<AtomicUsize>,
}

impl Shutdown {
    /// Spawns a task that shutdown waits for. The task must select on [`Self::drain`] when it
    /// waits.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Spawns a task that continues while the process drains, and is dropped at [`Self::force`].
    pub(crate) fn spawn_until_forced<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let force = self.force.clone();
        self.spawn(async move {
            let _ = force.run_until_cancelled_owned(task).await;
        });
    }

    /// Serves a private listener of the process until [`Self::force`]. `serve` handles one
    /// connection; `name` is for the log.
    pub(crate) fn spawn_listener<F>(
        &self,
        name: &'static str,
        listener: TcpListener,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let this = self.clone();
        self.spawn_until_forced(async move {
            loop {
                match listener.accept().await {
                    Ok((socket, _)) => this.spawn_until_forced(serve(socket)),
                    Err(error) => {
                        tracing::warn!(%error, "{name} cannot accept a connection");
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                }
            }
        });
    }

    /// Returns the number of running tasks.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn connection(&self) -> CountGuard {
        CountGuard::new(&self.connections)
    }

    /// Waits until every task has ended, at most `limit`. Returns the number of tasks that have
    /// not.
    pub async fn wait(&self, limit: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        self.tasks.len()
    }
}

/// Increments a counter until it is dropped.
#[derive(Debug)]
pub(crate) struct CountGuard(Arc<AtomicUsize>);

impl CountGuard {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
