//! How core gets to its model: within this process, to the gateway's bridge.
//!
//! The crate of this name connects to any host. It reads all root certificates before each connection, those
//! of conversations that will never see TLS among them: a seventh of what a new conversation cost. It gives
//! every connection a buffer of 128 KiB, and sends it through a proxy where the environment names one. Core
//! reaches the bridge with it and nobody else, for providers are the bridge's; and the bridge is in this
//! process. So nothing is connected: who [listens](listen) at the address that core calls is handed one end
//! of a [`Socket`], and the messages of the WebSocket go through it as they are, without frames, masks or the
//! kernel in between.

mod socket;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use codex_http_client::BuildCustomCaTransportError;
use codex_http_client::HttpClientFactory;
use codex_tungstenite::tungstenite::Error;
use codex_tungstenite::tungstenite::Message;
use codex_tungstenite::tungstenite::Utf8Bytes;
use codex_tungstenite::tungstenite::handshake::client::Request;
use codex_tungstenite::tungstenite::handshake::client::Response;
use codex_tungstenite::tungstenite::http::StatusCode;
use codex_tungstenite::tungstenite::protocol::WebSocketConfig;
use futures::Sink;
use futures::Stream;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::PollSender;

pub use self::socket::Call;
pub use self::socket::Listener;
pub use self::socket::NotConnected;
pub use self::socket::Socket;
pub use self::socket::connect;
pub use self::socket::listen;

/// Connects to the bridge.
#[derive(Debug, Clone)]
pub struct WebSocketConnector(());

impl WebSocketConnector {
    /// Core has one for each connection; there is nothing to prepare.
    ///
    /// # Errors
    /// None; the original's are of certificates.
    pub fn new(_proxies: &HttpClientFactory) -> Result<Self, BuildCustomCaTransportError> {
        Ok(Self(()))
    }

    /// Connects; the answer is that of a handshake (RFC 6455, section 4.2.2).
    ///
    /// # Errors
    /// The address is not `ws://` and one with a port; nobody in this process listens there, or whoever does
    /// refuses.
    pub async fn connect(
        &self,
        request: Request,
        _config: WebSocketConfig,
    ) -> Result<(WebSocketConnection, Response), Error> {
        let uri = request.uri().clone();
        let nobody = || {
            let message = format!("nobody in this process answers at {uri}");
            Error::Io(io::Error::new(io::ErrorKind::ConnectionRefused, message))
        };
        let address = address(&request).ok_or_else(nobody)?;
        match connect(address, request).await {
            Ok(Socket { received, sent }) => {
                let mut response = Response::new(None);
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let sent = PollSender::new(sent);
                Ok((WebSocketConnection { received, sent }, response))
            }
            Err(NotConnected::Refused { status, message }) => {
                let mut response = Response::new(Some(message.into_bytes()));
                *response.status_mut() = status;
                Err(Error::Http(Box::new(response)))
            }
            Err(NotConnected::Nobody) => Err(nobody()),
        }
    }
}

fn address(request: &Request) -> Option<SocketAddr> {
    let uri = request.uri();
    if uri.scheme_str() != Some("ws") {
        return None;
    }
    uri.authority()?.as_str().parse().ok()
}

/// A connection to the bridge.
#[derive(Debug)]
pub struct WebSocketConnection {
    received: Receiver<Utf8Bytes>,
    sent: PollSender<Utf8Bytes>,
}

impl Stream for WebSocketConnection {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.received.poll_recv(context).map(|text| text.map(|text| Ok(Message::Text(text))))
    }
}

impl Sink<Message> for WebSocketConnection {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.sent.poll_reserve(context).map_err(|_| Error::ConnectionClosed)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        if let Message::Text(text) = message {
            return self.sent.send_item(text).map_err(|_| Error::ConnectionClosed);
        }
        // Its place is free again.
        self.sent.abort_send();
        match message {
            Message::Close(_) => self.sent.close(),
            Message::Binary(_) | Message::Frame(_) => {
                let message = "the bridge takes text messages";
                return Err(Error::Io(io::Error::new(io::ErrorKind::Unsupported, message)));
            }
            // Whether the other end lives is seen without asking.
            Message::Ping(_) | Message::Pong(_) | Message::Text(_) => {}
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.sent.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use codex_http_client::OutboundProxyPolicy;
    use codex_tungstenite::tungstenite::client::IntoClientRequest;
    use futures::SinkExt;
    use futures::StreamExt;

    use super::*;

    async fn call(url: &str) -> Result<(WebSocketConnection, Response), Error> {
        let connector =
            WebSocketConnector::new(&HttpClientFactory::new(OutboundProxyPolicy::ReqwestDefault));
        let request = url.into_client_request()?;
        connector.unwrap().connect(request, WebSocketConfig::default()).await
    }

    #[tokio::test]
    async fn messages_go_both_ways_until_one_end_is_dropped() {
        let mut listener = listen(([127, 0, 0, 1], 1).into());
        let answered = async {
            let call = listener.next().await.unwrap();
            assert_eq!(call.request().uri().path(), "/demo/v1/responses");
            call.accept().unwrap()
        };
        let (connected, mut theirs) =
            futures::join!(call("ws://127.0.0.1:1/demo/v1/responses"), answered);
        let (mut ours, response) = connected.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);

        ours.send(Message::text("ask")).await.unwrap();
        ours.send(Message::Pong(Vec::new().into())).await.unwrap();
        assert_eq!(theirs.received.recv().await.unwrap().as_str(), "ask");
        theirs.sent.send("answer".into()).await.unwrap();
        assert_eq!(ours.next().await.unwrap().unwrap(), Message::text("answer"));
        assert!(ours.send(Message::Binary(Vec::new().into())).await.is_err());
        drop(theirs);
        assert!(ours.next().await.is_none());
        assert!(ours.send(Message::text("ask")).await.is_err());
    }

    #[tokio::test]
    async fn who_is_slow_holds_up_who_sends() {
        let mut listener = listen(([127, 0, 0, 1], 2).into());
        let (connected, theirs) = futures::join!(call("ws://127.0.0.1:2/"), async {
            listener.next().await.unwrap().accept().unwrap()
        });
        let (mut ours, _) = connected.unwrap();
        let mut sent = 0;
        while theirs.sent.try_send("piece".into()).is_ok() {
            sent += 1;
        }
        assert!(sent < 1000, "{sent}");
        assert!(ours.next().await.is_some());
        theirs.sent.try_send("piece".into()).unwrap();
    }

    #[tokio::test]
    async fn nobody_else_is_reached() {
        for url in ["ws://127.0.0.1:3/", "wss://127.0.0.1:3/", "ws://api.example.com/v1/responses"]
        {
            let error = call(url).await.unwrap_err().to_string();
            assert!(error.contains("nobody in this process"), "{error}");
        }
        // Nor who has left.
        drop(listen(([127, 0, 0, 1], 3).into()));
        assert!(call("ws://127.0.0.1:3/").await.is_err());
        assert!(!socket::listens(([127, 0, 0, 1], 3).into()));
    }

    #[tokio::test]
    async fn a_refusal_is_that_of_a_handshake() {
        let mut listener = listen(([127, 0, 0, 1], 4).into());
        let (connected, ()) = futures::join!(call("ws://127.0.0.1:4/"), async {
            let call = listener.next().await.unwrap();
            call.refuse(StatusCode::UNAUTHORIZED, "not you");
        });
        match connected.unwrap_err() {
            Error::Http(response) => {
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
                assert_eq!(response.body().as_deref(), Some(&b"not you"[..]));
            }
            other => panic!("{other}"),
        }
    }
}
