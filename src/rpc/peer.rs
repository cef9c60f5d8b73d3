//! Who made a call, and over what: what every method gets beside its params.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::rpc::ws::Socket;
use crate::sync::Mutex;
use crate::web::RequestContext;

/// A task that a method leaves behind.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The other side of a call.
#[derive(Clone)]
pub(crate) struct Peer {
    app: Arc<App>,
    context: Arc<RequestContext>,
    socket: Option<Socket>,
    call_id: Option<Value>,
    after_answer: Arc<Mutex<Vec<Task>>>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("caller", &self.caller())
            .field("over_socket", &self.socket.is_some())
            .finish_non_exhaustive()
    }
}

impl Peer {
    pub(crate) fn new(app: Arc<App>, context: Arc<RequestContext>, socket: Option<Socket>) -> Self {
        Self { app, context, socket, call_id: None, after_answer: Arc::default() }
    }

    /// The same side, as the maker of one call of its message.
    pub(super) fn of_call(&self, id: Option<&Value>) -> Self {
        Self { call_id: id.cloned(), ..self.clone() }
    }

    /// The id of the call, where it has one.
    pub(crate) fn call_id(&self) -> Option<&Value> {
        self.call_id.as_ref()
    }

    /// The gateway that was called.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The head of the request, or of the one that opened the socket.
    pub(crate) fn context(&self) -> &RequestContext {
        &self.context
    }

    /// The name of the caller's key.
    pub(crate) fn caller(&self) -> &str {
        self.context.caller()
    }

    /// The socket, where the call came over one.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// The socket that a method cannot do without.
    ///
    /// # Errors
    /// `Forbidden` where the call came over plain HTTP.
    pub(crate) fn only_socket(&self) -> Result<&Socket, Error> {
        self.socket.as_ref().ok_or_else(|| {
            Error::new(Kind::Forbidden, "this method sends notifications: expected it over GET /ws")
        })
    }

    /// Leaves a task to be run on the socket once the call has been answered, so that its
    /// notifications come after the answer.
    pub(crate) fn then(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.left().push(Box::pin(task));
    }

    /// What the methods left to be run.
    pub(crate) fn after_answer(&self) -> Vec<Task> {
        std::mem::take(&mut *self.left())
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Vec<Task>> {
        self.after_answer.lock()
    }
}
