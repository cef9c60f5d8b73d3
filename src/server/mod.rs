//! Accept and drain.
//!
//! [`run`] takes a connection permit, then accepts: a full house lets the kernel queue newcomers
//! instead of holding sockets it cannot serve. When draining begins it stops accepting and waits
//! for the connections it has; [`Shutdown::force`](crate::shutdown::Shutdown::force) ends those that are left.

mod connection;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::app::App;

/// Serves connections until draining begins and they have ended.
///
/// # Errors
/// The listener itself failed for good.
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
                let counted = shutdown.connection();
                shutdown.spawn(async move {
                    connection::serve(socket, peer, app, &limits, &shutdown_).await;
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

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
