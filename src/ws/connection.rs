//! One WebSocket connection: reads messages, writes what the outbox holds, pings, and ends with the
//! close code that fits (RFC 6455, section 7.4.1).

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

const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that has sent nothing for so long, not even an answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client may leave what it was sent unread, once its buffers are full.
const STALLED: Duration = Duration::from_secs(60);
/// How long a client has to answer a close frame.
const GOODBYE: Duration = Duration::from_secs(2);
/// How many messages are written between two flushes, where as many wait.
const BURST: usize = 64;

/// What is read at a time. The library clears as much before every read, and keeps it for as long as the
/// connection lives.
const READ_BYTES: usize = 16 * 1024;
/// How many pings may wait for their answers to be written; the next is read after that.
const PINGS: usize = 16;

/// How a connection reads, where a message may have `limit` bytes.
pub fn config(limit: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
}

/// What a client sent.
#[derive(Debug)]
pub enum Received {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
}

/// Whoever a connection's messages are for.
pub trait Receive: Send {
    /// Takes a message. The next is read when this returns.
    fn receive(&mut self, message: Received) -> impl Future<Output = ControlFlow<Close>> + Send;
}

/// Why a connection is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    code: CloseCode,
    reason: Utf8Bytes,
}

impl Close {
    /// A close code and, in at most 123 bytes, its reason.
    pub fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason: Utf8Bytes::from_static(reason) }
    }
}

/// Serves a connection until the client leaves, the receiver breaks it off, or `end` says why it is
/// to end.
pub async fn serve(
    stream: HyperWebsocketStream,
    mut outgoing: Outgoing,
    mut receiver: impl Receive,
    end: impl Future<Output = Close>,
) {
    let (mut sink, mut source) = stream.split();
    let (pinged, mut pings) = mpsc::channel(PINGS);
    let close = tokio::select! {
        close = read(&mut source, &mut receiver, &pinged) => close,
        () = write(&mut sink, &mut outgoing, &mut pings) => None,
        close = end => Some(close),
    };
    let Some(Close { code, reason }) = close else { return };
    let goodbye = async {
        // What was said before the end comes before it.
        while let Ok(Waiting { message, .. }) = outgoing.try_recv() {
            sink.feed(message).await?;
        }
        sink.send(Message::Close(Some(CloseFrame { code, reason }))).await?;
        let mut stream = sink.reunite(source).map_err(|_| tungstenite::Error::AlreadyClosed)?;
        // A socket that is closed with bytes unread is reset, and the close frame lost with it.
        let socket = stream.get_mut();
        socket.shutdown().await?;
        let mut rest = [0; 4096];
        while socket.read(&mut rest).await? > 0 {}
        Ok::<_, tungstenite::Error>(())
    };
    if !matches!(tokio::time::timeout(GOODBYE, goodbye).await, Ok(Ok(()))) {
        tracing::debug!("the client did not wait for the end");
    }
}

/// Reads until the client leaves (`None`), or there is a reason to end.
async fn read(
    source: &mut SplitStream<HyperWebsocketStream>,
    receiver: &mut impl Receive,
    pinged: &mpsc::Sender<()>,
) -> Option<Close> {
    loop {
        let Ok(message) = tokio::time::timeout(SILENCE, source.next()).await else {
            return Some(Close::new(CloseCode::Away, "no answer to a ping for 60 s"));
        };
        let received = match message? {
            Ok(Message::Text(text)) => Received::Text(text),
            Ok(Message::Binary(bytes)) => Received::Binary(bytes),
            // The library answers a ping by itself, with the next read, and keeps the answers of a
            // client that does not read them: such a client may send only so many.
            Ok(Message::Ping(_)) => {
                let _ = pinged.send(()).await;
                continue;
            }
            // A close frame is answered in the same way, and the read after that is an error.
            Ok(Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
            Err(error) => return reason(&error),
        };
        if let ControlFlow::Break(close) = receiver.receive(received).await {
            return Some(close);
        }
    }
}

/// What a client is told of an error; nothing where it is gone.
fn reason(error: &tungstenite::Error) -> Option<Close> {
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
        // Of the connection itself, or of an earlier end.
        _ => return None,
    };
    tracing::debug!(%error, "a client's message could not be read");
    Some(close)
}

/// Writes what comes until it cannot.
async fn write(
    sink: &mut SplitSink<HyperWebsocketStream, Message>,
    outgoing: &mut Outgoing,
    pings: &mut mpsc::Receiver<()>,
) {
    let mut beat = tokio::time::interval(PING_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    beat.tick().await;
    let mut burst: Vec<Waiting> = Vec::with_capacity(BURST);
    // Until every sender is gone.
    let mut more = true;
    loop {
        let mut ping = false;
        tokio::select! {
            taken = outgoing.recv_many(&mut burst, BURST), if more => more = taken > 0,
            _ = beat.tick() => ping = true,
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
        match tokio::time::timeout(STALLED, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a socket cannot be written to");
                return;
            }
            Err(_) => {
                tracing::debug!("a client reads nothing: its socket is dropped");
                return;
            }
        }
    }
}
