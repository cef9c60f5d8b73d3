//! One WebSocket connection: reads messages, writes the outbox, sends pings, and closes with a code
//! for the reason (RFC 6455, section 7.4.1).

use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use futures::StreamExt;
use futures::stream::SplitSink;
use futures::stream::SplitStream;
use hyper_tungstenite::HyperWebsocketStream;
use hyper_tungstenite::tungstenite;
use hyper_tungstenite::tungstenite::Message;
use hyper_tungstenite::tungstenite::Utf8Bytes;
use hyper_tungstenite::tungstenite::protocol::CloseFrame;
use hyper_tungstenite::tungstenite::protocol::WebSocketConfig;
use hyper_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::outbox::Outgoing;
use super::outbox::Waiting;

const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A client that sends nothing for this long, not even a pong, is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The time that a client with full buffers has to read from them.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The time that a client has to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most messages between two flushes.
const BURST: usize = 64;

/// The read buffer. The library clears it before every read, and it lives with the connection.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// The most pings whose pongs are not written yet. Reading stops at that number.
const MAX_PINGS: usize = 16;

/// The configuration of connections whose messages have at most `limit` bytes.
pub fn config(limit: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
}

/// A message of the client.
#[derive(Debug)]
pub enum Received {
    Text(Utf8Bytes),
    Binary(Bytes),
}

/// The receiver of a connection's messages.
pub trait Receive: Send {
    /// Takes a message. The next is read once this returns.
    fn receive(&mut self, message: Received) -> impl Future<Output = ControlFlow<Close>> + Send;
}

/// A close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    code: CloseCode,
    reason: Utf8Bytes,
}

impl Close {
    /// A code and a reason of at most 123 bytes.
    pub fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason: Utf8Bytes::from_static(reason) }
    }
}

/// Serves a connection until the client leaves, the receiver breaks or `end` returns.
pub async fn serve(
    stream: HyperWebsocketStream,
    mut outgoing: Outgoing,
    mut receiver: impl Receive,
    end: impl Future<Output = Close>,
) {
    let (mut sink, mut source) = stream.split();
    let (pinged, mut pings) = mpsc::channel(MAX_PINGS);
    let close = tokio::select! {
        close = read(&mut source, &mut receiver, &pinged) => close,
        () = write(&mut sink, &mut outgoing, &mut pings) => None,
        close = end => Some(close),
    };
    let Some(Close { code, reason }) = close else { return };
    let closing = async {
        // Queued messages precede the close frame.
        while let Ok(Waiting { message, .. }) = outgoing.try_recv() {
            sink.feed(message).await?;
        }
        sink.send(Message::Close(Some(CloseFrame { code, reason }))).await?;
        let mut stream = sink.reunite(source).map_err(|_| tungstenite::Error::AlreadyClosed)?;
        // Closing a socket with unread bytes resets it, and the close frame would be lost.
        let socket = stream.get_mut();
        socket.shutdown().await?;
        let mut unread = [0; 4096];
        while socket.read(&mut unread).await? > 0 {}
        Ok::<_, tungstenite::Error>(())
    };
    if !matches!(tokio::time::timeout(CLOSE_TIMEOUT, closing).await, Ok(Ok(()))) {
        tracing::debug!("the client did not complete the close handshake");
    }
}

/// Reads until the client leaves (`None`) or the connection is to be closed.
async fn read(
    source: &mut SplitStream<HyperWebsocketStream>,
    receiver: &mut impl Receive,
    pinged: &mpsc::Sender<()>,
) -> Option<Close> {
    loop {
        let Ok(message) = tokio::time::timeout(READ_TIMEOUT, source.next()).await else {
            return Some(Close::new(CloseCode::Away, "no answer to a ping for 60 s"));
        };
        let received = match message? {
            Ok(Message::Text(text)) => Received::Text(text),
            Ok(Message::Binary(bytes)) => Received::Binary(bytes),
            // The library queues the pong and writes it with the next read. The channel bounds the
            // pongs of a client that does not read.
            Ok(Message::Ping(_)) => {
                let _ = pinged.send(()).await;
                continue;
            }
            // The library answers a close frame in the same way; the next read is an error.
            Ok(Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
            Err(error) => return close_frame(&error),
        };
        if let ControlFlow::Break(close) = receiver.receive(received).await {
            return Some(close);
        }
    }
}

/// The close frame for a read error. `None` if the client is gone.
fn close_frame(error: &tungstenite::Error) -> Option<Close> {
    let close = match error {
        tungstenite::Error::Capacity(_) => {
            Close::new(CloseCode::Size, "expected a message within gateway.body_limit_bytes")
        }
        tungstenite::Error::Utf8(_) => Close::new(CloseCode::Invalid, "expected UTF-8"),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => {
            return None;
        }
        tungstenite::Error::Protocol(_) => {
            Close::new(CloseCode::Protocol, "expected frames as in RFC 6455")
        }
        // The connection itself failed or was closed before.
        _ => return None,
    };
    tracing::debug!(%error, "invalid message of a client");
    Some(close)
}

/// Writes messages, pings and pongs until a write fails.
async fn write(
    sink: &mut SplitSink<HyperWebsocketStream, Message>,
    outgoing: &mut Outgoing,
    pings: &mut mpsc::Receiver<()>,
) {
    let mut ping_interval = tokio::time::interval(PING_INTERVAL);
    ping_interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping_interval.tick().await;
    let mut burst: Vec<Waiting> = Vec::with_capacity(BURST);
    let mut open = true;
    loop {
        let mut ping = false;
        tokio::select! {
            taken = outgoing.recv_many(&mut burst, BURST), if open => open = taken > 0,
            _ = ping_interval.tick() => ping = true,
            Some(()) = pings.recv() => {}
        }
        let written = async {
            if ping {
                sink.feed(Message::Ping(Bytes::new())).await?;
            }
            for waiting in burst.drain(..) {
                sink.feed(waiting.message).await?;
            }
            sink.flush().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a write to a socket failed");
                return;
            }
            Err(_) => {
                tracing::debug!("a client stopped reading: its socket is closed");
                return;
            }
        }
    }
}
