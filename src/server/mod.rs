//! Accept and drain.
//!
//! [`run`] takes a connection permit, then accepts: a full house lets the kernel queue newcomers
//! instead of holding sockets it cannot serve. When draining begins it stops accepting and waits
//! for the connections it has; [`Shutdown::force`] ends those that are left.

mod connection;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;

/// How long a door of the process's own rests after an error.
const DOOR_PAUSE: Duration = Duration::from_millis(50);

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
    pub(crate) fn spawn_door<F>(
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
                        tokio::time::sleep(DOOR_PAUSE).await;
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
    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// Waits until every task has ended, at most `limit`. Returns how many are left.
    pub async fn wait(&self, limit: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        self.tasks.len()
    }
}

/// Serves connections until draining begins and they have ended.
///
/// # Errors
/// The listener itself failed for good.
pub async fn run(listener: TcpListener, gateway: Arc<Gateway>) -> io::Result<()> {
    let shutdown = gateway.shutdown().clone();
    let limits = gateway.config().server.clone();
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit.map_err(io::Error::other)?,
            () = shutdown.drain.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.drain.cancelled() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let gateway = Arc::clone(&gateway);
                let (shutdown_, limits) = (shutdown.clone(), limits.clone());
                let counted = shutdown.connection();
                shutdown.spawn(async move {
                    connection::serve(socket, peer, gateway, &limits, &shutdown_).await;
                    drop((permit, counted));
                });
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                // Out of file descriptors or memory: accepting again at once would only spin.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    Ok(())
}

/// One more, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
