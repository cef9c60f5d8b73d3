//! A WebSocket between two ends in the same process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use codex_tungstenite::tungstenite::Utf8Bytes;
use codex_tungstenite::tungstenite::handshake::client::Request;
use codex_tungstenite::tungstenite::http::StatusCode;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Pending calls per listener; further callers wait.
const PENDING_CALLS: usize = 64;
/// Messages in flight in each direction; further senders wait.
const MESSAGES_IN_FLIGHT: usize = 64;

/// One end of a connection. Dropping a half closes that direction.
#[derive(Debug)]
pub struct Socket {
    /// Text messages from the other end.
    pub received: mpsc::Receiver<Utf8Bytes>,
    /// Text messages to the other end.
    pub sent: mpsc::Sender<Utf8Bytes>,
}

/// Creates both ends of a connection.
fn pair() -> (Socket, Socket) {
    let (to_caller, from_listener) = mpsc::channel(MESSAGES_IN_FLIGHT);
    let (to_listener, from_caller) = mpsc::channel(MESSAGES_IN_FLIGHT);
    let caller = Socket { received: from_listener, sent: to_listener };
    (caller, Socket { received: from_caller, sent: to_caller })
}

/// The reason a connection was not established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectError {
    /// The address has no listener.
    NoListener,
    /// The listener refused the connection.
    Refused {
        /// The status a server would return in place of 101.
        status: StatusCode,
        /// The reason, in a sentence.
        message: String,
    },
}

/// A connection attempt that awaits acceptance or refusal.
#[derive(Debug)]
pub struct Call {
    request: Request,
    answer: oneshot::Sender<Result<Socket, ConnectError>>,
}

impl Call {
    /// The request of the handshake (RFC 6455, section 4.2.1).
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Establishes the connection. Returns `None` if the caller has given up.
    pub fn accept(self) -> Option<Socket> {
        let (caller, listener) = pair();
        self.answer.send(Ok(caller)).ok()?;
        Some(listener)
    }

    /// Refuses the connection with the status and the reason.
    pub fn refuse(self, status: StatusCode, message: &str) {
        let message = message.to_owned();
        let _ = self.answer.send(Err(ConnectError::Refused { status, message }));
    }
}

type Listeners = HashMap<SocketAddr, mpsc::Sender<Call>>;

fn listeners() -> MutexGuard<'static, Listeners> {
    static LISTENERS: OnceLock<Mutex<Listeners>> = OnceLock::new();
    LISTENERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives the calls to an address until it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    calls: mpsc::Receiver<Call>,
}

/// Listens at an address. Replaces an earlier listener, which receives no further calls.
#[must_use]
pub fn listen(address: SocketAddr) -> Listener {
    let (sender, calls) = mpsc::channel(PENDING_CALLS);
    listeners().insert(address, sender);
    Listener { address, calls }
}

impl Listener {
    /// Receives the next call; `None` once the listener is replaced.
    pub async fn next(&mut self) -> Option<Call> {
        self.calls.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.calls.close();
        let mut listeners = listeners();
        if listeners.get(&self.address).is_some_and(mpsc::Sender::is_closed) {
            listeners.remove(&self.address);
        }
    }
}

/// Calls the listener at an address in this process.
///
/// # Errors
/// If the address has no listener, or the listener refuses.
pub async fn connect(address: SocketAddr, request: Request) -> Result<Socket, ConnectError> {
    let listener = listeners().get(&address).cloned().ok_or(ConnectError::NoListener)?;
    let (answer, answered) = oneshot::channel();
    let call = Call { request, answer };
    listener.send(call).await.map_err(|_| ConnectError::NoListener)?;
    answered.await.map_err(|_| ConnectError::NoListener)?
}

/// Whether an address has a listener.
#[cfg(test)]
pub(crate) fn has_listener(address: SocketAddr) -> bool {
    listeners().contains_key(&address)
}
