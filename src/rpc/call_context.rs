//! The caller and the transport of a call: the first argument of every method.

use std::sync::Arc;

use serde_json::Value;

use super::socket::Socket;
use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::web::RequestContext;

/// The context of a call.
#[derive(Clone)]
pub(super) struct CallContext {
    app: Arc<App>,
    request: Arc<RequestContext>,
    socket: Option<Socket>,
    id: Option<Value>,
}

impl CallContext {
    /// The context of a message. `request` opened the socket, if there is one.
    pub(super) fn new(app: Arc<App>, request: Arc<RequestContext>, socket: Option<Socket>) -> Self {
        Self { app, request, socket, id: None }
    }

    /// The context of one call of the message.
    pub(super) fn for_call(&self, id: Option<&Value>) -> Self {
        Self { id: id.cloned(), ..self.clone() }
    }

    /// The id of the call. A notification has none.
    pub(super) fn id(&self) -> Option<&Value> {
        self.id.as_ref()
    }

    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The HTTP request that brought the call, or opened its socket.
    pub(super) fn request(&self) -> &RequestContext {
        &self.request
    }

    /// The name of the caller's key.
    pub(super) fn caller(&self) -> &str {
        self.request.caller()
    }

    /// The socket of the call. `None` over plain HTTP.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// The socket of a call that needs one.
    ///
    /// # Errors
    /// `Forbidden` over plain HTTP.
    pub(super) fn require_socket(&self) -> Result<&Socket, Error> {
        self.socket.as_ref().ok_or_else(|| {
            Error::new(Kind::Forbidden, "this method sends notifications: call it over GET /ws")
        })
    }
}
