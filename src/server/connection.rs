//! Serves one connection: HTTP/1.1 or HTTP/2, until it closes or shutdown ends it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::app::App;
use crate::gateway;
use crate::shutdown::Shutdown;
use crate::web::Limits;

/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The size limit of a request head; hyper answers 431 above it.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// The time after which a connection with unacknowledged data is dropped.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    H1,
    H2,
}

/// Serves a connection until the client closes it, draining completes its last response, or
/// shutdown forces it to end.
pub(super) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    app: Arc<App>,
    limits: &Limits,
    shutdown: &Shutdown,
) {
    set_options(&socket, peer);
    let version = tokio::select! {
        version = sniff(&socket, limits.header_timeout) => version,
        () = shutdown.drain.cancelled() => return,
    };
    let Some(version) = version else {
        tracing::debug!(%peer, "no request received");
        return;
    };

    let builder = builder(version, limits);
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(gateway::call(&app, request).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
    tokio::pin!(connection);

    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    // Includes clients that leave a stream, which is normal.
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return;
            }
            () = shutdown.drain.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shutdown.force.cancelled() => {
                tracing::debug!(%peer, "connection ended by shutdown");
                return;
            }
        }
    }
}

fn set_options(socket: &TcpStream, peer: SocketAddr) {
    // Events are small and must be sent immediately.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    // Bounds how long a client that stopped reading holds its connection.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_user_timeout(Some(STALL_TIMEOUT)) {
        tracing::debug!(%peer, %error, "cannot set TCP_USER_TIMEOUT");
    }
}

fn builder(version: Version, limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_INTERVAL)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_concurrent_streams(256);
    match version {
        Version::H1 => builder.http1_only(),
        Version::H2 => builder.http2_only(),
    }
}

/// Detects the HTTP version from the first bytes, within `limit`.
///
/// hyper-util can do this too, but without a time limit: a client that sends nothing, or the HTTP/2
/// preface in part, would hold its permit forever.
async fn sniff(socket: &TcpStream, limit: Duration) -> Option<Version> {
    let deadline = Instant::now() + limit;
    let mut head = [0; H2_PREFACE.len()];
    loop {
        let seen = tokio::time::timeout_at(deadline, socket.peek(&mut head)).await.ok()?.ok()?;
        match detect(head.get(..seen)?) {
            Detected::Closed => return None,
            Detected::Is(version) => return Some(version),
            // Peeked bytes stay readable, so an immediate retry would spin.
            Detected::Undecided => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        if Instant::now() >= deadline {
            return None;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Detected {
    Closed,
    Is(Version),
    Undecided,
}

fn detect(head: &[u8]) -> Detected {
    match head {
        [] => Detected::Closed,
        head if head == H2_PREFACE => Detected::Is(Version::H2),
        head if H2_PREFACE.starts_with(head) => Detected::Undecided,
        _ => Detected::Is(Version::H1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_identify_the_version() {
        for (head, expected) in [
            (&b""[..], Detected::Closed),
            (b"GET / HTTP/1.1\r\n", Detected::Is(Version::H1)),
            (b"POST /exec HTTP/1.1\r\n", Detected::Is(Version::H1)),
            (b"P", Detected::Undecided),
            (b"PRI * HTTP/2.0\r\n", Detected::Undecided),
            (b"PRI * HTTP/1.1\r\n", Detected::Is(Version::H1)),
            (H2_PREFACE, Detected::Is(Version::H2)),
        ] {
            assert_eq!(detect(head), expected, "{head:?}");
        }
    }
}
