//! The WebSocket of a client: the handle that calls, subscriptions and terminals send through.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::MutexGuard;

use serde::Serialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::TryAcquireError;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::ws::outbox::Closed;
use crate::ws::outbox::Gate;
use crate::ws::outbox::Outbox;

/// The most concurrent calls of one socket. The calls of a batch count one by one.
const MAX_CALLS: usize = 128;
/// The most subscriptions of one socket.
const MAX_SUBSCRIPTIONS: usize = 256;

/// A socket. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    outbox: Outbox,
    subscriptions: Arc<Mutex<HashMap<ConversationId, Subscription>>>,
    call_slots: Arc<Semaphore>,
    /// Calls, subscriptions and followed terminals.
    tasks: TaskTracker,
    /// Ends the tasks.
    closed: CancellationToken,
    shutdown: Shutdown,
}

impl Socket {
    pub(super) fn new(outbox: Outbox, shutdown: Shutdown) -> Self {
        Self {
            outbox,
            subscriptions: Arc::default(),
            call_slots: Arc::new(Semaphore::new(MAX_CALLS)),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
            shutdown,
        }
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Spawns a task that ends with the socket at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.shutdown.spawn(self.tasks.track_future(async move {
            tokio::select! {
                () = task => {}
                () = closed.cancelled() => {}
            }
        }));
    }

    /// Returns a guard that ends the tasks of the socket when it is dropped.
    pub(super) fn close_on_drop(&self) -> DropGuard {
        self.closed.clone().drop_guard()
    }

    /// Sends a message. Waits for room in the outbox.
    ///
    /// # Errors
    /// The socket is closed.
    pub(super) async fn send(&self, message: String) -> Result<(), Closed> {
        self.outbox.send(message).await
    }

    /// Sends a notification. Waits for room in the outbox.
    ///
    /// # Errors
    /// The socket is closed.
    pub(super) async fn notify(&self, method: &str, params: &impl Serialize) -> Result<(), Closed> {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.send(message.to_string()).await
    }

    /// Reserves one slot per call.
    ///
    /// # Errors
    /// `Overloaded` if too many calls are running; `Unavailable` while the process drains.
    pub(super) fn reserve(&self, calls: u32) -> Result<OwnedSemaphorePermit, Error> {
        let slots = Arc::clone(&self.call_slots).try_acquire_many_owned(calls);
        slots.map_err(|error| match error {
            TryAcquireError::NoPermits => Error::new(
                Kind::Overloaded,
                format!("expected at most {MAX_CALLS} calls at a time on one socket"),
            ),
            TryAcquireError::Closed => {
                Error::new(Kind::Unavailable, "the gateway is shutting down")
            }
        })
    }

    /// Waits until the process drains, every call is answered and every message is written.
    pub(super) async fn drained(&self) {
        self.shutdown.drain.cancelled().await;
        self.call_slots.close();
        self.tasks.close();
        self.tasks.wait().await;
        self.outbox.written().await;
    }

    /// Adds a subscription to a conversation. It replaces an earlier one.
    ///
    /// # Errors
    /// `Overloaded` if the socket has too many.
    pub(super) fn add_subscription(&self, id: &ConversationId) -> Result<Subscription, Error> {
        let mut subscriptions = self.subscriptions();
        subscriptions.retain(|_, subscription| subscription.is_active());
        if subscriptions.len() >= MAX_SUBSCRIPTIONS && !subscriptions.contains_key(id) {
            return Err(Error::new(
                Kind::Overloaded,
                format!("expected at most {MAX_SUBSCRIPTIONS} subscriptions on one socket"),
            ));
        }
        let subscription = Subscription::default();
        if let Some(earlier) = subscriptions.insert(id.clone(), subscription.clone()) {
            earlier.stop();
        }
        Ok(subscription)
    }

    /// Ends the subscription to a conversation. Returns whether there was one.
    pub(super) fn end_subscription(&self, id: &ConversationId) -> bool {
        let Some(subscription) = self.subscriptions().remove(id) else { return false };
        let was_active = subscription.is_active();
        subscription.stop();
        was_active
    }

    fn subscriptions(&self) -> MutexGuard<'_, HashMap<ConversationId, Subscription>> {
        self.subscriptions.lock()
    }
}

/// A subscription of a socket to a conversation.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscription {
    /// Cancelled once the subscription has ended or is to end.
    pub(super) end: CancellationToken,
    pub(super) gate: Arc<Gate>,
}

impl Subscription {
    fn is_active(&self) -> bool {
        !self.end.is_cancelled()
    }

    /// Ends the subscription: no event follows the response to the call that ended it.
    fn stop(&self) {
        self.end.cancel();
        self.gate.shut();
    }
}
