//! Shutdown in two stages: drain (finish what runs), then force (drop what is left).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a door of the process's own rests after an error.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The two stages of the end, and everything that has to end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// No new work; streams say goodbye, turns are interrupted.
    pub drain: CancellationToken,
    /// What is left is dropped.
    pub force: CancellationToken,
    tasks: TaskTracker,
    connections: Arc<AtomicUsize>,
}

impl Shutdown {
    /// Spawns a task that shutdown waits for. Tasks select on [`Self::drain`] where they wait.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Spawns a task that goes on while the process drains, and is dropped when that is over.
    pub(crate) fn spawn_until_forced<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let force = self.force.clone();
        self.spawn(async move {
            let _ = force.run_until_cancelled_owned(task).await;
        });
    }

    /// Serves a port of the process's own, as long as that: `serve` answers one connection.
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

    /// How many tasks are running.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn connection(&self) -> CountGuard {
        CountGuard::new(&self.connections)
    }

    /// Waits until every task has ended, at most `limit`. Returns how many are left.
    pub async fn wait(&self, limit: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        self.tasks.len()
    }
}

/// One more, until it is dropped.
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
