//! The accept loop.
//!
//! [`run`] takes a connection permit before it accepts. At the limit, new connections wait in the
//! kernel's queue instead of holding a socket unserved. When draining begins it stops accepting;
//! [`Shutdown`](crate::shutdown::Shutdown) tracks the open connections.

mod connection;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::app::App;

/// Accepts and serves connections until draining begins. Connections may outlast this call.
///
/// # Errors
/// The permits are closed, which does not happen. Failed accepts are logged and retried.
pub async fn run(listener: TcpListener, app: Arc<App>) -> io::Result<()> {
    let shutdown = app.shutdown().clone();
    let limits = app.config().server.clone();
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
                let app = Arc::clone(&app);
                let (shutdown_, limits) = (shutdown.clone(), limits.clone());
                let counter = shutdown.connection();
                shutdown.spawn(async move {
                    connection::serve(socket, peer, app, &limits, &shutdown_).await;
                    drop((permit, counter));
                });
            }
            Err(error) if is_connection_error(&error) => {
                tracing::debug!(%error, "connection ended before it was accepted");
            }
            Err(error) => {
                // Out of file descriptors or memory: an immediate retry would spin.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    Ok(())
}

/// Returns whether an accept error concerns that connection only.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
