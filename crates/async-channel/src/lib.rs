//! A channel of many senders and many receivers, whose queue grows as it fills.
//!
//! Core gives every conversation a queue of 512 submissions, of which one or two are ever waiting. The
//! crate of this name writes the whole queue when it is made: 300 KB, a quarter of what an idle
//! conversation cost. Here what is not used costs nothing, and what a burst has used is given back.
//!
//! It has the part of the original's API that the dependency graph uses, with the same meaning: a message
//! goes to one receiver; a channel closes when one side is gone or says so; what was sent before is still
//! received; and a future that is dropped has neither sent nor received anything.

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
pub use errors::TryRecvError;
pub use errors::TrySendError;

/// An empty queue with room for more than this is given back.
const KEPT: usize = 128;

/// A channel that holds at most `capacity` messages.
///
/// # Panics
/// The capacity is zero.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "capacity cannot be zero");
    channel(capacity)
}

/// A channel that holds what is sent, however much it is.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(usize::MAX)
}

fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), capacity, closed: false, senders: 1, receivers: 1 };
    let channel = Arc::new(Channel {
        state: Mutex::new(state),
        room: Event::new(),
        news: Event::new(),
        closing: Event::new(),
    });
    (Sender(Arc::clone(&channel)), Receiver { channel, listener: None })
}

struct Channel<T> {
    state: Mutex<State<T>>,
    /// For senders: a message was taken, or the channel was closed.
    room: Event,
    /// For receivers: a message was sent, or the channel was closed.
    news: Event,
    /// For whoever waits for nothing but the end.
    closing: Event,
}

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    closed: bool,
    senders: usize,
    receivers: usize,
}

impl<T> Channel<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        {
            let mut state = self.lock();
            if state.closed {
                return Err(TrySendError::Closed(message));
            }
            if state.queue.len() >= state.capacity {
                return Err(TrySendError::Full(message));
            }
            state.queue.push_back(message);
        }
        self.news.notify_additional(1);
        Ok(())
    }

    fn try_recv(&self) -> Result<T, TryRecvError> {
        let message = {
            let mut state = self.lock();
            let closed = state.closed;
            let ended = if closed { TryRecvError::Closed } else { TryRecvError::Empty };
            let message = state.queue.pop_front().ok_or(ended)?;
            if state.queue.is_empty() && state.queue.capacity() > KEPT {
                state.queue = VecDeque::new();
            }
            message
        };
        self.room.notify_additional(1);
        Ok(message)
    }

    /// Returns whether it was open.
    fn close(&self) -> bool {
        let was_open = !std::mem::replace(&mut self.lock().closed, true);
        if was_open {
            self.room.notify(usize::MAX);
            self.news.notify(usize::MAX);
            self.closing.notify(usize::MAX);
        }
        was_open
    }
}

/// The side that sends.
pub struct Sender<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    /// Sends a message, as soon as there is room for it.
    ///
    /// # Errors
    /// The channel is closed; the message comes back.
    pub async fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut message = message;
        let mut listener = None;
        loop {
            message = match self.0.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(message)) => return Err(SendError(message)),
                Err(TrySendError::Full(message)) => message,
            };
            // Room that is made after it listens is not missed: it looks once more before it waits.
            match listener.take() {
                None => listener = Some(self.0.room.listen()),
                Some(listening) => listening.await,
            }
        }
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// The channel is full, or closed; the message comes back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(message)
    }

    /// Closes the channel; `true` if it was open.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Waits until the channel is closed.
    pub async fn closed(&self) {
        let listening = self.0.closing.listen();
        if !self.is_closed() {
            listening.await;
        }
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.0.lock().queue.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let last = {
            let mut state = self.0.lock();
            state.senders -= 1;
            state.senders == 0
        };
        if last {
            self.0.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// The side that receives; also a stream.
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    /// Where it is polled as a stream.
    listener: Option<EventListener>,
}

impl<T> Receiver<T> {
    /// Receives a message, as soon as there is one.
    ///
    /// # Errors
    /// The channel is closed and empty.
    pub async fn recv(&self) -> Result<T, RecvError> {
        let mut listener = None;
        loop {
            match self.channel.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Closed) => return Err(RecvError),
                Err(TryRecvError::Empty) => {}
            }
            match listener.take() {
                None => listener = Some(self.channel.news.listen()),
                Some(listening) => listening.await,
            }
        }
    }

    /// Receives a message if there is one.
    ///
    /// # Errors
    /// The channel is empty, or closed and empty.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.try_recv()
    }

    /// Closes the channel; `true` if it was open.
    pub fn close(&self) -> bool {
        self.channel.close()
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        self.channel.lock().closed
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.channel.lock().queue.len()
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            match self.channel.try_recv() {
                Ok(message) => {
                    self.listener = None;
                    return Poll::Ready(Some(message));
                }
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            let listening = match &mut self.listener {
                Some(listening) => listening,
                // It looks once more before it waits.
                None => {
                    let listening = self.channel.news.listen();
                    self.listener = Some(listening);
                    continue;
                }
            };
            std::task::ready!(Pin::new(listening).poll(context));
            self.listener = None;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.channel.lock().receivers += 1;
        Self { channel: Arc::clone(&self.channel), listener: None }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let last = {
            let mut state = self.channel.lock();
            state.receivers -= 1;
            state.receivers == 0
        };
        if last {
            self.channel.close();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
