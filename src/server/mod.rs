//! The accept loop.
//!
//! [`run`] accepts every connection at once, and [`connections`](crate::web::connections) decides
//! which others make room for it. When draining begins it stops accepting;
//! [`Shutdown`](crate::shutdown::Shutdown) tracks the open connections.
//!
//! What a client can make the gateway hold:
//!
//! | held | bound |
//! |---|---|
//! | connections | `max_connections`, plus a sixteenth, plus 64 that are being closed |
//! | connections with requests of one key | `max_connections_per_key` |
//! | a connection without a request | `header_timeout_ms`, then `keep_alive_timeout_ms` |
//! | streams of an HTTP/2 connection | `max_streams_per_connection` |
//! | unread bytes of a stream | 64 KiB and a chunk of 16 KiB; a document that was made as a whole |
//! | unread bytes in the kernel | 128 KiB of a connection, and what was sent but not acknowledged |
//! | unread bytes in all | `max_unread_bytes`; the largest holder is dropped |
//! | bytes of request bodies in flight | 256 KiB of a stream, 1 MiB of a connection |

mod connection;
pub mod files;
mod response;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::app::App;
use crate::web::connections::Connection;

/// The pause after a failed accept, which would otherwise spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);
/// The least time between two log lines about failed accepts.
const ERROR_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts and serves connections until draining begins. Connections may outlast this call. Failed
/// accepts are logged and retried.
pub async fn run(listener: TcpListener, app: Arc<App>) {
    let shutdown = app.shutdown().clone();
    let mut logged: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.drain.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                let connection = Connection::open(app.connections(), peer.ip());
                shutdown.spawn(connection::serve(socket, peer, Arc::clone(&app), connection));
            }
            Err(error) if is_connection_error(&error) => {
                tracing::debug!(%error, "connection ended before it was accepted");
            }
            Err(error) => {
                // Out of file descriptors or memory.
                app.connections().relieve();
                if logged.is_none_or(|last| last.elapsed() >= ERROR_INTERVAL) {
                    tracing::error!(%error, "cannot accept connections");
                    logged = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
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
