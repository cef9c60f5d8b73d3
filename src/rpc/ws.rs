//! `GET /ws`: JSON-RPC 2.0 over one WebSocket (RFC 6455), many calls at a time.
//!
//! This file upgrades the request, authenticates the caller and runs the calls; [`crate::ws`] is the
//! connection below it, [`super::subscriber`] the events of a conversation as notifications.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::time::Duration;

use futures::poll;
use http::Request;
use http::Response;
use http::header;
use hyper_tungstenite::HyperWebsocket;
use hyper_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::TryAcquireError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::subscriber::Following;
use crate::access;
use crate::app::App;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;
use crate::rpc;
use crate::rpc::Peer;
use crate::shutdown::CountGuard;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::web::Body;
use crate::web::RequestContext;
use crate::ws::connection;
use crate::ws::connection::Close;
use crate::ws::connection::Received;
use crate::ws::outbox;
use crate::ws::outbox::Outbox;

/// How long a client without a key in its headers may take to send its `auth` message.
const AUTHENTICATE_WITHIN: Duration = Duration::from_secs(10);
/// Calls of one socket at a time, those of batches counted one by one; one more is refused as overloaded.
const MAX_CALLS: usize = 128;
/// Conversations that one socket follows at a time.
pub(super) const MAX_SUBSCRIPTIONS: usize = 256;

/// `GET /ws`
///
/// # Errors
/// `UpgradeRequired` where the request does not ask for a WebSocket.
pub(crate) fn open(
    app: &Arc<App>,
    context: RequestContext,
    mut request: Request<()>,
) -> Result<Response<Body>, Error> {
    let version = request.headers().get(header::SEC_WEBSOCKET_VERSION);
    let speaks_it = version.is_some_and(|version| version == "13");
    if !(speaks_it && hyper_tungstenite::is_upgrade_request(&request)) {
        return Err(Error::new(
            Kind::UpgradeRequired,
            "expected a WebSocket handshake (`Upgrade: websocket`, version 13, RFC 6455)",
        ));
    }
    let config = connection::config(app.config().server.body_limit);
    let (response, upgraded) = hyper_tungstenite::upgrade(&mut request, Some(config))
        .map_err(|error| Error::invalid(format!("expected a WebSocket handshake: {error}")))?;
    let permit = app.socket_permit();
    let counted = app.shutdown().connection();
    app.shutdown().spawn(serve(upgraded, Arc::clone(app), context, permit, counted));
    Ok(response.map(|_| Body::whole("")))
}

async fn serve(
    upgraded: HyperWebsocket,
    app: Arc<App>,
    context: RequestContext,
    permit: Option<OwnedSemaphorePermit>,
    counted: CountGuard,
) {
    let stream = match upgraded.await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "the upgrade did not complete");
            return;
        }
    };
    let (outbox, outgoing) = outbox::channel();
    let shutdown = app.shutdown().clone();
    let socket = Socket {
        outbox,
        subscriptions: Arc::default(),
        calls: Arc::new(Semaphore::new(MAX_CALLS)),
        tasks: TaskTracker::new(),
        closed: CancellationToken::new(),
        shutdown: shutdown.clone(),
    };
    let _closed = socket.closed.clone().drop_guard();
    let known = CancellationToken::new();
    if context.caller.is_some() {
        known.cancel();
    }
    let session =
        Session { app, context: Arc::new(context), socket: socket.clone(), known: known.clone() };
    let end = async {
        if permit.is_none() {
            return Close::new(CloseCode::Again, "too many sockets are open");
        }
        tokio::select! {
            () = unauthenticated(&known) => {
                Close::new(CloseCode::Policy, "expected an `auth` message within 10 s")
            }
            () = socket.drained() => Close::new(CloseCode::Away, "the gateway is shutting down"),
        }
    };
    tokio::select! {
        () = connection::serve(stream, outgoing, session, end) => {}
        () = shutdown.force.cancelled() => {}
    }
    drop((permit, counted));
}

/// Returns when the client's time to authenticate is up.
async fn unauthenticated(known: &CancellationToken) {
    if tokio::time::timeout(AUTHENTICATE_WITHIN, known.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// The messages of one socket.
struct Session {
    app: Arc<App>,
    context: Arc<RequestContext>,
    socket: Socket,
    /// Cancelled once the caller is known.
    known: CancellationToken,
}

impl connection::Receive for Session {
    async fn receive(&mut self, message: Received) -> ControlFlow<Close> {
        let text = match message {
            Received::Text(text) => text,
            Received::Binary(_) => {
                return ControlFlow::Break(Close::new(
                    CloseCode::Unsupported,
                    "expected text messages of JSON-RPC 2.0",
                ));
            }
        };
        if self.context.caller.is_none() {
            return self.authenticate(&text).await;
        }
        let peer =
            Peer::new(Arc::clone(&self.app), Arc::clone(&self.context), Some(self.socket.clone()));
        // Those of a batch run at once, and count one by one.
        let calls = Arc::clone(&self.socket.calls);
        let places = match calls.try_acquire_many_owned(rpc::count(&text)) {
            Ok(places) => places,
            Err(none) => {
                let refusal = rpc::refuse(&text, &no_place(&none), &self.context.request_id);
                return self.socket.say(refusal).await;
            }
        };
        let socket = self.socket.clone();
        let mut call = Box::pin(async move {
            if let Some(answer) = rpc::answer(&peer, text.as_bytes()).await {
                let _ = socket.say(Some(answer)).await;
            }
            for task in peer.after_answer() {
                socket.spawn(task);
            }
            drop(places);
        });
        // Begun here, so that calls begin in the order in which they came.
        if poll!(&mut call).is_pending() {
            self.socket.spawn(call);
        }
        ControlFlow::Continue(())
    }
}

fn no_place(none: &TryAcquireError) -> Error {
    match none {
        TryAcquireError::NoPermits => Error::new(
            Kind::Overloaded,
            format!("expected at most {MAX_CALLS} calls at a time on one socket"),
        ),
        TryAcquireError::Closed => Error::new(Kind::Unavailable, "the gateway is shutting down"),
    }
}

/// The first message of a client that cannot set headers (a browser).
#[derive(Deserialize)]
struct Authenticate {
    id: Option<Value>,
    method: String,
    params: Credential,
}

#[derive(Deserialize)]
struct Credential {
    #[serde(alias = "token")]
    api_key: String,
}

impl Session {
    async fn authenticate(&mut self, text: &str) -> ControlFlow<Close> {
        let message = serde_json::from_str::<Authenticate>(text).ok();
        let message = message.filter(|message| message.method == "auth");
        let Some(Authenticate { id, params, .. }) = message else {
            return ControlFlow::Break(Close::new(
                CloseCode::Policy,
                "expected first {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"auth\",\"params\":{\"api_key\":\"…\"}}",
            ));
        };
        match access::by_key(&self.app.config().keys, params.api_key.as_bytes()) {
            Ok(caller) => {
                self.context = Arc::new(RequestContext {
                    request_id: self.context.request_id.clone(),
                    headers: self.context.headers.clone(),
                    query: self.context.query.clone(),
                    caller: Some(caller),
                });
                self.known.cancel();
                let answer =
                    json!({ "jsonrpc": "2.0", "id": id, "result": { "authenticated": true } });
                self.socket.say(id.is_some().then_some(answer)).await
            }
            Err(error) => {
                let refusal = json!({
                    "jsonrpc": "2.0", "id": id, "error": error.rpc(&self.context.request_id),
                });
                let _ = self.socket.say(Some(refusal)).await;
                ControlFlow::Break(Close::new(CloseCode::Policy, "expected a known API key"))
            }
        }
    }
}

/// What the calls of a socket may do with it.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(super) outbox: Outbox,
    subscriptions: Arc<Mutex<HashMap<ConversationId, Following>>>,
    calls: Arc<Semaphore>,
    /// Calls, subscriptions and terminals.
    tasks: TaskTracker,
    /// The socket is gone, and with it all of them.
    closed: CancellationToken,
    shutdown: Shutdown,
}

impl Socket {
    /// Runs a task that ends with the socket at the latest.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.shutdown.spawn(self.tasks.track_future(async move {
            tokio::select! {
                () = task => {}
                () = closed.cancelled() => {}
            }
        }));
    }

    /// Sends a notification. Waits while the client reads more slowly than it is told things.
    ///
    /// # Errors
    /// The socket is gone.
    pub(crate) async fn notify(&self, method: &str, params: &Value) -> Result<(), outbox::Closed> {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.outbox.send(message.to_string()).await
    }

    async fn say(&self, message: Option<Value>) -> ControlFlow<Close> {
        if let Some(message) = message {
            // Whoever reads the socket finds out that it is gone.
            let _ = self.outbox.send(message.to_string()).await;
        }
        ControlFlow::Continue(())
    }

    /// The process drains, every call has been answered, and all of it has been written.
    async fn drained(&self) {
        self.shutdown.drain.cancelled().await;
        self.calls.close();
        self.tasks.close();
        self.tasks.wait().await;
        self.outbox.written().await;
    }

    pub(super) fn subscriptions(&self) -> MutexGuard<'_, HashMap<ConversationId, Following>> {
        self.subscriptions.lock()
    }
}
