//! The queue of outgoing messages of a connection, bounded in bytes. Senders wait for room.

use std::sync::Arc;
use std::sync::MutexGuard;

use hyper_tungstenite::tungstenite::Message;
use hyper_tungstenite::tungstenite::Utf8Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::sync::Mutex;

/// The size of the queue. A longer message waits until it is alone.
const LIMIT_BYTES: u32 = 1 << 20;
/// The cost of a message on top of its text: it bounds the number of small ones.
const OVERHEAD_BYTES: u32 = 128;

/// The sending half of the queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    // Bounded by `room`: every message in it holds a permit.
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

/// The receiving half, for the writer of the connection.
pub type Outgoing = mpsc::UnboundedReceiver<Waiting>;

/// A queued message. It holds its room until it is written.
#[derive(Debug)]
pub struct Waiting {
    pub(super) message: Message,
    pub(super) _room: OwnedSemaphorePermit,
}

/// The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Creates an empty queue.
pub fn channel() -> (Outbox, Outgoing) {
    let (queue, outgoing) = mpsc::unbounded_channel();
    (Outbox { queue, room: Arc::new(Semaphore::new(LIMIT_BYTES as usize)) }, outgoing)
}

impl Outbox {
    /// Queues a text message. Waits for room, in the order of the calls.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&self, text: impl Into<Utf8Bytes>) -> Result<(), Closed> {
        self.put(Message::Text(text.into())).await
    }

    /// Queues a message. Waits for room, in the order of the calls.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn put(&self, message: Message) -> Result<(), Closed> {
        let room = self.room(&message).await?;
        self.queue.send(Waiting { message, _room: room }).map_err(|_| Closed)
    }

    /// Queues a text message once there is room, unless the gate is shut by then. Returns whether
    /// the gate was open.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send_through(
        &self,
        gate: &Gate,
        text: impl Into<Utf8Bytes>,
    ) -> Result<bool, Closed> {
        let message = Message::Text(text.into());
        let room = self.room(&message).await?;
        let open = gate.lock();
        if *open {
            self.queue.send(Waiting { message, _room: room }).map_err(|_| Closed)?;
        }
        Ok(*open)
    }

    async fn room(&self, message: &Message) -> Result<OwnedSemaphorePermit, Closed> {
        let bytes = u32::try_from(message.len()).unwrap_or(LIMIT_BYTES);
        let bytes = bytes.saturating_add(OVERHEAD_BYTES).min(LIMIT_BYTES);
        tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(bytes) => room.map_err(|_| Closed),
            () = self.queue.closed() => Err(Closed),
        }
    }

    /// Waits until every message is written or the connection is closed.
    pub async fn written(&self) {
        tokio::select! {
            _ = self.room.acquire_many(LIMIT_BYTES) => {}
            () = self.queue.closed() => {}
        }
    }
}

/// A gate for some of the messages. Once it is shut, none of them follows a later message.
#[derive(Debug)]
pub struct Gate(Mutex<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(Mutex::new(true))
    }
}

impl Gate {
    pub fn shut(&self) {
        *self.lock() = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shut_gate_stops_messages_that_wait() {
        let (outbox, mut outgoing) = channel();
        let gate = Gate::default();
        let big = "x".repeat(600 * 1024);
        assert_eq!(outbox.send_through(&gate, big.clone()).await, Ok(true));
        let mut second = Box::pin(outbox.send_through(&gate, big));
        assert!(futures::poll!(&mut second).is_pending(), "there is no room for a second one");
        gate.shut();
        drop(outgoing.recv().await);
        assert_eq!(second.await, Ok(false));
        assert!(outgoing.try_recv().is_err());
        outbox.written().await;
    }

    #[tokio::test]
    async fn queue_is_bounded_in_bytes() {
        let (outbox, mut outgoing) = channel();
        let big = "x".repeat(600 * 1024);
        outbox.send(big.clone()).await.unwrap();
        let mut second = Box::pin(outbox.send(big));
        assert!(futures::poll!(&mut second).is_pending(), "there is no room for a second one");
        drop(outgoing.recv().await);
        second.await.unwrap();
        drop(outgoing.recv().await);
        outbox.written().await;
        drop(outgoing);
        assert_eq!(outbox.send("late").await, Err(Closed));
    }
}
