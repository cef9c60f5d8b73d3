//! Serves one connection: HTTP/1.1 or HTTP/2, until it closes, its deadline passes, it makes room
//! for others, or shutdown ends it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::Sleep;

use super::response::ResponseBody;
use super::socket::Socket;
use crate::app::App;
use crate::gateway;
use crate::web::Limits;
use crate::web::connections::CloseReason;
use crate::web::connections::Connection;

/// The size limit of a request head; hyper answers 431 above it.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// The bytes of a response that an HTTP/2 stream buffers.
const SEND_BUFFER: usize = 64 * 1024;
/// The bytes of a request body that an HTTP/2 stream may have in flight.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same, for all streams of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The time that a connection has to end by itself. After that it is dropped, unless an
/// authenticated request is in progress.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves a connection until the client closes it, draining completes its last response, it has to
/// make room, or shutdown forces it to end.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    app: Arc<App>,
    connection: Arc<Connection>,
) {
    let shutdown = app.shutdown().clone();
    let builder = builder(&app.config().server);
    let socket = TokioIo::new(Socket::new(stream, peer, Arc::clone(&connection)));
    let service = service_fn(|request| {
        let (app, connection) = (Arc::clone(&app), Arc::clone(&connection));
        async move { Ok::<_, Infallible>(answer(&app, &connection, request).await) }
    });
    let mut http = std::pin::pin!(builder.serve_connection_with_upgrades(socket, service));
    let mut expiry = Expiry::new(&connection, app.config().server.keep_alive_timeout);
    let mut end = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    let (mut draining, mut closing) = (false, false);
    loop {
        tokio::select! {
            // The connection first, so that the deadline takes what it received into account.
            biased;
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    // Includes clients that leave a stream, which is normal.
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return;
            }
            () = shutdown.force.cancelled() => {
                tracing::debug!(%peer, "connection ended by shutdown");
                return;
            }
            () = connection.aborted() => {
                tracing::debug!(%peer, "connection dropped");
                return;
            }
            () = shutdown.drain.cancelled(), if !draining => {
                draining = true;
                http.as_mut().graceful_shutdown();
                continue;
            }
            () = end.as_mut(), if closing => {
                if !connection.is_protected() {
                    return;
                }
            }
            () = connection.closing(), if !closing => {}
            reason = &mut expiry, if !closing => {
                tracing::debug!(%peer, reason = reason.as_str(), "closing a connection");
                connection.expire(reason);
                if reason == CloseReason::HeadTimeout {
                    return;
                }
            }
        }
        closing = true;
        end.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
        http.as_mut().graceful_shutdown();
    }
}

/// Answers a request. The response keeps the request in progress.
async fn answer(
    app: &Arc<App>,
    connection: &Arc<Connection>,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let in_progress = connection.begin();
    let is_http_1 = request.version() < Version::HTTP_2;
    request.extensions_mut().insert(Arc::clone(&in_progress));
    let mut response = gateway::call(app, request).await;
    let upgrades = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if is_http_1 && !upgrades && app.shutdown().leaving.is_cancelled() {
        // The next request belongs to another instance.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| ResponseBody::new(body, in_progress))
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Expiry` is more exact, but does not see a head that arrived in part before the response
        // to the previous request was complete.
        .header_read_timeout(limits.keep_alive_timeout + limits.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_INTERVAL)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_concurrent_streams(limits.max_streams)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// Completes when the deadline of a connection has passed.
///
/// The deadline moves with every request. The timer is only moved to an earlier time, or when it
/// has elapsed, so that requests do not pay for it.
struct Expiry<'a> {
    connection: &'a Connection,
    /// A request may end in another task, but the deadline is never earlier than this time after.
    keep_alive_timeout: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Expiry<'a> {
    fn new(connection: &'a Connection, keep_alive_timeout: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { connection, keep_alive_timeout, timer }
    }
}

impl Future for Expiry<'_> {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let connection = self.connection;
        loop {
            let deadline = connection.deadline();
            let elapsed = self.timer.is_elapsed();
            if let Some((at, reason)) = deadline
                && at <= Instant::now()
            {
                return Poll::Ready(reason);
            }
            let at =
                deadline.map_or_else(|| Instant::now() + self.keep_alive_timeout, |(at, _)| at);
            if elapsed || at < self.timer.deadline() {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
