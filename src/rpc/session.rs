//! The messages of one socket: authenticates the client, then runs its calls.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Poll;

use futures::poll;
use hyper_tungstenite::tungstenite::Utf8Bytes;
use hyper_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tokio::sync::oneshot;

use super::call_context::CallContext;
use super::dispatch;
use super::message::Message;
use super::socket::Socket;
use crate::access;
use crate::access::Caller;
use crate::app::App;
use crate::web::RequestContext;
use crate::ws::connection;
use crate::ws::connection::Close;
use crate::ws::connection::Received;

/// The receiver of a socket's messages.
pub(super) struct Session {
    app: Arc<App>,
    request: Arc<RequestContext>,
    socket: Socket,
    /// Tells the caller, once.
    authenticated: Option<oneshot::Sender<Caller>>,
}

impl Session {
    /// A session that is authenticated if the request that opened the socket was. Also returns the
    /// caller, once it is known.
    pub(super) fn new(
        app: Arc<App>,
        request: Arc<RequestContext>,
        socket: Socket,
    ) -> (Self, oneshot::Receiver<Caller>) {
        let (sender, caller) = oneshot::channel();
        let mut this = Self { app, request, socket, authenticated: Some(sender) };
        if let Some(caller) = this.request.caller.clone() {
            this.authenticated_as(caller);
        }
        (this, caller)
    }

    fn authenticated_as(&mut self, caller: Caller) {
        if let Some(sender) = self.authenticated.take() {
            let _ = sender.send(caller);
        }
    }
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
        if self.request.caller.is_none() {
            return self.authenticate(&text).await;
        }
        let (app, request) = (Arc::clone(&self.app), Arc::clone(&self.request));
        let mut answering = Box::pin(answer(app, request, self.socket.clone(), text));
        // The first poll is here, so that calls begin in the order of their messages.
        match poll!(&mut answering) {
            Poll::Pending => self.socket.spawn(async move {
                answering.await;
            }),
            // The next message is read after this one is refused: refusals do not pile up.
            Poll::Ready(Some(refusal)) => {
                // The reader of the connection notices that it is closed.
                let _ = self.socket.send(refusal).await;
            }
            Poll::Ready(None) => {}
        }
        ControlFlow::Continue(())
    }
}

/// Answers a message. Returns the response, unsent, at once if the socket has no slots for its
/// calls.
async fn answer(
    app: Arc<App>,
    request: Arc<RequestContext>,
    socket: Socket,
    text: Utf8Bytes,
) -> Option<String> {
    let message = Message::parse(text.as_bytes());
    let slots = match socket.reserve(message.calls()) {
        Ok(slots) => slots,
        Err(error) => return dispatch::refuse(message, &error, &request.request_id),
    };
    let context = CallContext::new(app, request, Some(socket.clone()));
    let outcome = dispatch::answer(&context, message).await;
    if let Some(response) = outcome.response {
        // The reader of the connection notices that it is closed.
        let _ = socket.send(response).await;
    }
    for task in outcome.follow_ups {
        socket.spawn(task);
    }
    drop(slots);
    None
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
                self.request = Arc::new(RequestContext {
                    request_id: self.request.request_id.clone(),
                    headers: self.request.headers.clone(),
                    query: self.request.query.clone(),
                    caller: Some(caller.clone()),
                });
                self.authenticated_as(caller);
                if id.is_some() {
                    let response =
                        json!({ "jsonrpc": "2.0", "id": id, "result": { "authenticated": true } });
                    let _ = self.socket.send(response.to_string()).await;
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                let response = json!({
                    "jsonrpc": "2.0", "id": id, "error": error.rpc(&self.request.request_id),
                });
                let _ = self.socket.send(response.to_string()).await;
                ControlFlow::Break(Close::new(CloseCode::Policy, "expected a known API key"))
            }
        }
    }
}
