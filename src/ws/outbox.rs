//! What waits to be written to a socket, bounded in bytes: whoever has more to say waits.

use std::sync::Arc;
use std::sync::MutexGuard;

use hyper_tungstenite::tungstenite::Message;
use hyper_tungstenite::tungstenite::Utf8Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::sync::Mutex;

/// How much may wait. A longer message waits until it is alone.
const LIMIT_BYTES: u32 = 1 << 20;
/// What a message costs over its text, so that many small ones are bounded too.
const OVERHEAD_BYTES: u32 = 128;

/// The end that is written into.
#[derive(Debug, Clone)]
pub struct Outbox {
    // Not bounded itself: what is in it holds room of `room`.
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

/// The end that a socket's writer takes from.
pub type Outgoing = mpsc::UnboundedReceiver<Waiting>;

/// A message, and the room it takes until it has been written.
#[derive(Debug)]
pub struct Waiting {
    pub(super) message: Message,
    pub(super) _room: OwnedSemaphorePermit,
}

/// The socket is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// An empty outbox.
pub fn channel() -> (Outbox, Outgoing) {
    let (queue, outgoing) = mpsc::unbounded_channel();
    (Outbox { queue, room: Arc::new(Semaphore::new(LIMIT_BYTES as usize)) }, outgoing)
}

impl Outbox {
    /// Puts a text message behind those that wait, once there is room. Fair.
    ///
    /// # Errors
    /// The socket is gone.
    pub async fn send(&self, text: impl Into<Utf8Bytes>) -> Result<(), Closed> {
        self.put(Message::Text(text.into())).await
    }

    /// Puts a message behind those that wait, once there is room.
    ///
    /// # Errors
    /// The socket is gone.
    pub async fn put(&self, message: Message) -> Result<(), Closed> {
        let room = self.room(&message).await?;
        self.queue.send(Waiting { message, _room: room }).map_err(|_| Closed)
    }

    /// Puts a text message behind those that wait, once there is room; not if the gate has been
    /// shut by then. Says whether it was still open.
    ///
    /// # Errors
    /// The socket is gone.
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

    /// Returns when everything has been written, or the socket is gone.
    pub async fn written(&self) {
        tokio::select! {
            _ = self.room.acquire_many(LIMIT_BYTES) => {}
            () = self.queue.closed() => {}
        }
    }
}

/// What some messages go through, until it is shut: none of them is behind what is sent from then on.
#[derive(Debug)]
pub struct Gate(Mutex<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(Mutex::new(true))
    }
}

impl Gate {
    /// Lets nothing more through.
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
    async fn what_waits_for_room_does_not_come_through_a_gate_that_was_shut_meanwhile() {
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
    async fn what_waits_is_bounded_in_bytes() {
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
