//! `GET /ws`: JSON-RPC 2.0 over one WebSocket (RFC 6455), many calls at a time.
//!
//! This file upgrades the request and serves the socket; [`super::session`] takes its messages;
//! [`crate::ws`] is the connection below.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use hyper_tungstenite::HyperWebsocket;
use hyper_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio::sync::oneshot;

use super::session::Session;
use super::socket::Socket;
use crate::access::Caller;
use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::connections::Connection;
use crate::web::connections::Full;
use crate::web::connections::InProgress;
use crate::web::describe::Operation;
use crate::web::extract::CancelOnDisconnect;
use crate::web::extract::Upgrade;
use crate::web::respond::Respond;
use crate::ws::connection;
use crate::ws::connection::Close;
use crate::ws::outbox;

/// The time that a client without a key in its headers has to send its `auth` message.
const AUTHENTICATE_WITHIN: Duration = Duration::from_secs(10);

/// `GET /ws`
///
/// # Errors
/// `UpgradeRequired` if the request is not a WebSocket handshake.
pub(crate) async fn open(
    app: &Arc<App>,
    context: &Arc<RequestContext>,
    (_, Upgrade(mut request)): (CancelOnDisconnect, Upgrade),
) -> Result<Opened, Error> {
    let version = request.headers().get(header::SEC_WEBSOCKET_VERSION);
    let is_supported = version.is_some_and(|version| version == "13");
    let is_get = request.method() == Method::GET;
    if !(is_get && is_supported && hyper_tungstenite::is_upgrade_request(&request)) {
        return Err(Error::new(
            Kind::UpgradeRequired,
            "expected a WebSocket handshake (`Upgrade: websocket`, version 13, RFC 6455)",
        ));
    }
    let config = connection::config(app.config().server.body_limit);
    let (response, upgraded) = hyper_tungstenite::upgrade(&mut request, Some(config))
        .map_err(|error| Error::invalid(format!("expected a WebSocket handshake: {error}")))?;
    // The socket is in progress longer than the request that opened it.
    let in_progress = InProgress::of(request.extensions()).map(|open| open.connection().begin());
    app.shutdown().spawn(serve(upgraded, Arc::clone(app), Arc::clone(context), in_progress));
    Ok(Opened(response.map(|_| Body::whole(""))))
}

/// The response to a handshake.
#[derive(Debug)]
pub(crate) struct Opened(Response<Body>);

impl Respond for Opened {
    fn describe(operation: &mut Operation<'_>) {
        operation.responds(
            StatusCode::SWITCHING_PROTOCOLS,
            "The socket is open. Without a key in a header, `auth` comes first.",
            &[],
        );
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

async fn serve(
    upgraded: HyperWebsocket,
    app: Arc<App>,
    context: Arc<RequestContext>,
    in_progress: Option<Arc<InProgress>>,
) {
    let stream = match upgraded.await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "the upgrade did not complete");
            return;
        }
    };
    let shutdown = app.shutdown().clone();
    let (outbox, outgoing) = outbox::channel();
    let socket = Socket::new(outbox, shutdown.clone());
    let _close_on_drop = socket.close_on_drop();
    let (session, caller) = Session::new(app, context, socket.clone());
    let in_progress = in_progress.as_deref();
    let connection = in_progress.map(|request| &**request.connection());
    let end = async {
        tokio::select! {
            close = unauthenticated(caller, in_progress) => close,
            () = socket.drained() => Close::new(CloseCode::Away, "the gateway is shutting down"),
            () = closing(connection) => Close::new(CloseCode::Again, "too many connections are open"),
        }
    };
    tokio::select! {
        () = connection::serve(stream, outgoing, session, end) => {}
        () = shutdown.force.cancelled() => {}
        () = aborted(connection) => {}
    }
}

/// Returns if the client does not authenticate in time, or if its connection cannot be kept.
async fn unauthenticated(
    caller: oneshot::Receiver<Caller>,
    in_progress: Option<&InProgress>,
) -> Close {
    match tokio::time::timeout(AUTHENTICATE_WITHIN, caller).await {
        Err(_) => return Close::new(CloseCode::Policy, "expected an `auth` message within 10 s"),
        Ok(Ok(Caller { name })) => match in_progress.map(|request| request.authenticate(&name)) {
            Some(Err(Full::All)) => {
                return Close::new(CloseCode::Again, "too many connections are open");
            }
            Some(Err(Full::Key)) => {
                return Close::new(CloseCode::Again, "too many connections of this key are open");
            }
            Some(Ok(())) | None => {}
        },
        // The session ends.
        Ok(Err(_)) => {}
    }
    std::future::pending().await
}

/// Returns once an unauthenticated connection has to make room for others.
async fn closing(connection: Option<&Connection>) {
    if let Some(connection) = connection {
        connection.closing().await;
        if !connection.is_protected() {
            return;
        }
    }
    std::future::pending().await
}

/// Returns once the connection is to be dropped.
async fn aborted(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.aborted().await,
        None => std::future::pending().await,
    }
}
