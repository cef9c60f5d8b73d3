//! A multi-producer, multi-consumer channel whose queue grows on demand.
//!
//! Core gives each conversation a queue of 512 submissions, of which one or two are ever pending.
//! The original crate initialises the whole queue on creation: 300 KB, a quarter of the memory of an
//! idle conversation. Here an unused queue allocates nothing, and a drained queue releases the
//! memory of a burst.
//!
//! This is the part of the original API that the dependency graph uses, with the same semantics:
//! each message goes to one receiver; the channel closes when the last handle of either side is
//! dropped; messages sent before that are still received; `send` and `recv` are cancel-safe.

mod errors;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use event_listener::Event;
use event_listener::EventListener;
use futures_core::Stream;

pub use errors::RecvError;
pub use errors::SendError;
pub use errors::TrySendError;

/// The largest capacity that a drained queue keeps.
const RETAINED_CAPACITY: usize = 128;

/// Creates a channel that holds at most `capacity` messages.
///
/// # Panics
/// If the capacity is zero.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "capacity cannot be zero");
    channel(capacity)
}

/// Creates a channel that holds any number of messages.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(usize::MAX)
}

fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        state: Mutex::new(State { queue: VecDeque::new(), closed: false }),
        capacity,
        message_taken: Event::new(),
        message_sent: Event::new(),
        closing: Event::new(),
    });
    let side = || Arc::new(Side { channel: Arc::clone(&channel) });
    (Sender { side: side() }, Receiver { side: side(), listener: None })
}

struct Channel<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    /// Wakes senders; also on close.
    message_taken: Event,
    /// Wakes receivers; also on close.
    message_sent: Event,
    /// Wakes [`Sender::closed`].
    closing: Event,
}

struct State<T> {
    queue: VecDeque<T>,
    closed: bool,
}

impl<T> Channel<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: T) -> Result<(), TrySendError<T>> {
        {
            let mut state = self.lock();
            if state.closed {
                return Err(TrySendError::Closed(message));
            }
            if state.queue.len() >= self.capacity {
                return Err(TrySendError::Full(message));
            }
            state.queue.push_back(message);
        }
        self.message_sent.notify_additional(1);
        Ok(())
    }

    /// Takes the next message: `Pending` while the queue is empty, `None` once it is also closed.
    fn pop(&self) -> Poll<Option<T>> {
        let message = {
            let mut state = self.lock();
            let Some(message) = state.queue.pop_front() else {
                return if state.closed { Poll::Ready(None) } else { Poll::Pending };
            };
            if state.queue.is_empty() && state.queue.capacity() > RETAINED_CAPACITY {
                state.queue = VecDeque::new();
            }
            message
        };
        self.message_taken.notify_additional(1);
        Poll::Ready(Some(message))
    }

    fn close(&self) {
        if !std::mem::replace(&mut self.lock().closed, true) {
            self.message_taken.notify(usize::MAX);
            self.message_sent.notify(usize::MAX);
            self.closing.notify(usize::MAX);
        }
    }
}

/// All senders, or all receivers, of a channel: dropping the last of them closes it.
struct Side<T> {
    channel: Arc<Channel<T>>,
}

impl<T> Drop for Side<T> {
    fn drop(&mut self) {
        self.channel.close();
    }
}

/// The sending half of a channel.
pub struct Sender<T> {
    side: Arc<Side<T>>,
}

impl<T> Sender<T> {
    /// Sends a message once the channel has room for it.
    ///
    /// # Errors
    /// Returns the message if the channel is closed.
    pub async fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut message = message;
        let mut listener = None;
        loop {
            message = match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(message)) => return Err(SendError(message)),
                Err(TrySendError::Full(message)) => message,
            };
            // Try once more after the listener is registered: it misses earlier notifications.
            match listener.take() {
                None => listener = Some(self.side.channel.message_taken.listen()),
                Some(registered) => registered.await,
            }
        }
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// Returns the message if the channel is full or closed.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.side.channel.push(message)
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        self.side.channel.lock().closed
    }

    /// Completes once the channel is closed.
    pub async fn closed(&self) {
        let listener = self.side.channel.closing.listen();
        if !self.is_closed() {
            listener.await;
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { side: Arc::clone(&self.side) }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// The receiving half of a channel; also a stream.
pub struct Receiver<T> {
    side: Arc<Side<T>>,
    /// Used when polled as a stream.
    listener: Option<EventListener>,
}

impl<T> Receiver<T> {
    /// Receives the next message.
    ///
    /// # Errors
    /// If the channel is closed and empty.
    pub async fn recv(&self) -> Result<T, RecvError> {
        let mut listener = None;
        loop {
            if let Poll::Ready(message) = self.side.channel.pop() {
                return message.ok_or(RecvError);
            }
            // Try once more after the listener is registered: it misses earlier notifications.
            match listener.take() {
                None => listener = Some(self.side.channel.message_sent.listen()),
                Some(registered) => registered.await,
            }
        }
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Poll::Ready(message) = self.side.channel.pop() {
                self.listener = None;
                return Poll::Ready(message);
            }
            // Try once more after the listener is registered: it misses earlier notifications.
            match &mut self.listener {
                None => self.listener = Some(self.side.channel.message_sent.listen()),
                Some(registered) => {
                    std::task::ready!(Pin::new(registered).poll(context));
                    self.listener = None;
                }
            }
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { side: Arc::clone(&self.side), listener: None }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
