//! A WebSocket whose two ends are in this process.

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

/// How many calls may wait to be answered; who calls then waits, too.
const CALLS: usize = 64;
/// How many messages may be on their way, each way, before who sends waits.
const MESSAGES: usize = 64;

/// One end of a connection. It is closed when it is dropped; either half of it can be, alone.
#[derive(Debug)]
pub struct Socket {
    /// Text messages from the other end, as they were sent.
    pub received: mpsc::Receiver<Utf8Bytes>,
    /// Those that go there.
    pub sent: mpsc::Sender<Utf8Bytes>,
}

/// Both ends of a connection.
fn pair() -> (Socket, Socket) {
    let (there, arrived_there) = mpsc::channel(MESSAGES);
    let (here, arrived_here) = mpsc::channel(MESSAGES);
    let ours = Socket { received: arrived_here, sent: there };
    (ours, Socket { received: arrived_there, sent: here })
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotConnected {
    /// Nobody listens at the address.
    Nobody,
    /// Whoever listens there does not want it.
    Refused {
        /// As a server would say it instead of 101.
        status: StatusCode,
        /// Why, in a sentence.
        message: String,
    },
}

/// Somebody who wants a connection.
#[derive(Debug)]
pub struct Call {
    request: Request,
    answer: oneshot::Sender<Result<Socket, NotConnected>>,
}

impl Call {
    /// What was asked for: the path and the headers of a handshake (RFC 6455, section 4.2.1).
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Connects. None where who called has left meanwhile.
    pub fn accept(self) -> Option<Socket> {
        let (ours, theirs) = pair();
        self.answer.send(Ok(theirs)).ok()?;
        Some(ours)
    }

    /// Does not connect, and says why.
    pub fn refuse(self, status: StatusCode, message: &str) {
        let message = message.to_owned();
        let _ = self.answer.send(Err(NotConnected::Refused { status, message }));
    }
}

type Listeners = HashMap<SocketAddr, mpsc::Sender<Call>>;

fn listeners() -> MutexGuard<'static, Listeners> {
    static LISTENERS: OnceLock<Mutex<Listeners>> = OnceLock::new();
    LISTENERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is called at an address, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    calls: mpsc::Receiver<Call>,
}

/// Has calls to an address answered here. Whoever listened there before is not called any more.
#[must_use]
pub fn listen(address: SocketAddr) -> Listener {
    let (sender, calls) = mpsc::channel(CALLS);
    listeners().insert(address, sender);
    Listener { address, calls }
}

impl Listener {
    /// The next call; none where somebody else listens in its place.
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

/// Calls whoever listens at an address in this process.
///
/// # Errors
/// Nobody does, or whoever does refuses.
pub async fn connect(address: SocketAddr, request: Request) -> Result<Socket, NotConnected> {
    let listener = listeners().get(&address).cloned().ok_or(NotConnected::Nobody)?;
    let (answer, answered) = oneshot::channel();
    let call = Call { request, answer };
    listener.send(call).await.map_err(|_| NotConnected::Nobody)?;
    answered.await.map_err(|_| NotConnected::Nobody)?
}

/// Whether anybody listens at an address.
#[cfg(test)]
pub(crate) fn listens(address: SocketAddr) -> bool {
    listeners().contains_key(&address)
}
