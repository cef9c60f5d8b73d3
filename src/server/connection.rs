//! One socket.

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

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest request head; a longer one is answered 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// How long a client may leave what it was sent unread, once its buffers are full.
const STALLED: Duration = Duration::from_secs(120);
const H2_PING_EVERY: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    H1,
    H2,
}

/// Serves one connection until the client leaves, or draining lets it go, or it is forced.
pub(super) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    app: Arc<App>,
    limits: &Limits,
    shutdown: &Shutdown,
) {
    // Events are small and each is worth sending at once.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    // A client that stops reading holds its connection only so long.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(STALLED)) {
        tracing::debug!(%peer, %error, "cannot set TCP_USER_TIMEOUT");
    }
    let version = tokio::select! {
        version = sniff(&socket, limits.header_timeout) => version,
        () = shutdown.drain.cancelled() => return,
    };
    let Some(version) = version else {
        tracing::debug!(%peer, "no request arrived");
        return;
    };

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
        .keep_alive_interval(H2_PING_EVERY)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_concurrent_streams(256);
    let builder = match version {
        Version::H1 => builder.http1_only(),
        Version::H2 => builder.http2_only(),
    };
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
                    // A client that leaves an endless stream ends here: an ordinary end.
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return;
            }
            () = shutdown.drain.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shutdown.force.cancelled() => {
                tracing::debug!(%peer, "connection forced to end");
                return;
            }
        }
    }
}

/// Finds out which HTTP the client speaks, within `limit`.
///
/// hyper-util would do this too, but waits for the first bytes without a limit: a client that
/// connects and says nothing, or dribbles the HTTP/2 preface, would hold its permit for ever.
async fn sniff(socket: &TcpStream, limit: Duration) -> Option<Version> {
    let deadline = Instant::now() + limit;
    let mut head = [0; H2_PREFACE.len()];
    loop {
        let seen = tokio::time::timeout_at(deadline, socket.peek(&mut head)).await.ok()?.ok()?;
        match detect(head.get(..seen)?) {
            Detected::Closed => return None,
            Detected::Is(version) => return Some(version),
            // The same bytes stay readable, so peeking again at once would spin.
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
    fn the_first_bytes_tell_the_version() {
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
