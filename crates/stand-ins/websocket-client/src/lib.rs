//! The connection from core to the model bridge, within the process.
//!
//! The original crate connects to any host. Before each connection it reads all root certificates,
//! TLS or not: a seventh of the cost of a new conversation. It allocates a buffer of 128 KiB per
//! connection and honours the proxy variables of the environment.
//!
//! Core uses this crate only to reach the bridge, because every provider is behind it, and the
//! bridge runs in the same process. So no TCP connection is opened: the [listener](listen) at the
//! address that core calls gets one end of a [`Socket`]. Messages pass through it as they are,
//! without frames, masks or the kernel.

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
pub use self::socket::ConnectError;
pub use self::socket::Listener;
pub use self::socket::Socket;
pub use self::socket::connect;
pub use self::socket::listen;

/// Opens connections to the bridge.
#[derive(Debug, Clone)]
pub struct WebSocketConnector(());

impl WebSocketConnector {
    /// Core creates one per connection.
    ///
    /// # Errors
    /// Never fails; the original reports certificate errors.
    pub fn new(_proxies: &HttpClientFactory) -> Result<Self, BuildCustomCaTransportError> {
        Ok(Self(()))
    }

    /// Connects, and returns the response of the handshake (RFC 6455, section 4.2.2).
    ///
    /// # Errors
    /// If the address has no listener in this process, or the listener refuses. The first is reported
    /// as status 426, Upgrade Required (RFC 9110, section 15.5.22): core then changes to HTTP at once.
    /// After an I/O error it would try five more times first, for about 6 s.
    pub async fn connect(
        &self,
        request: Request,
        _config: WebSocketConfig,
    ) -> Result<(WebSocketConnection, Response), Error> {
        let uri = request.uri().clone();
        let no_listener = || {
            let message = format!("no listener in this process at {uri}");
            refusal(StatusCode::UPGRADE_REQUIRED, message)
        };
        let address = address(&request).ok_or_else(no_listener)?;
        match connect(address, request).await {
            Ok(Socket { received, sent }) => {
                let mut response = Response::new(None);
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let sent = PollSender::new(sent);
                Ok((WebSocketConnection { received, sent }, response))
            }
            Err(ConnectError::Refused { status, message }) => Err(refusal(status, message)),
            Err(ConnectError::NoListener) => Err(no_listener()),
        }
    }
}

fn refusal(status: StatusCode, message: String) -> Error {
    let mut response = Response::new(Some(message.into_bytes()));
    *response.status_mut() = status;
    Error::Http(Box::new(response))
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
        // Only text messages use the reserved slot.
        self.sent.abort_send();
        match message {
            Message::Close(_) => self.sent.close(),
            Message::Binary(_) | Message::Frame(_) => {
                let message = "the bridge accepts only text messages";
                return Err(Error::Io(io::Error::new(io::ErrorKind::Unsupported, message)));
            }
            // A dropped end is noticed without keep-alives.
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
    async fn messages_pass_until_one_end_drops() {
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
    async fn slow_receiver_applies_backpressure() {
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
    async fn other_addresses_are_refused_with_426() {
        for url in ["ws://127.0.0.1:3/", "wss://127.0.0.1:3/", "ws://api.example.com/v1/responses"]
        {
            let Error::Http(response) = call(url).await.unwrap_err() else { panic!("{url}") };
            assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
            let message = String::from_utf8(response.into_body().unwrap()).unwrap();
            assert!(message.contains("no listener in this process"), "{message}");
        }
        // A dropped listener is not reached either.
        drop(listen(([127, 0, 0, 1], 3).into()));
        assert!(call("ws://127.0.0.1:3/").await.is_err());
        assert!(!socket::has_listener(([127, 0, 0, 1], 3).into()));
    }

    #[tokio::test]
    async fn refusal_is_a_failed_handshake() {
        let mut listener = listen(([127, 0, 0, 1], 4).into());
        let (connected, ()) = futures::join!(call("ws://127.0.0.1:4/"), async {
            let call = listener.next().await.unwrap();
            call.refuse(StatusCode::UNAUTHORIZED, "wrong token");
        });
        match connected.unwrap_err() {
            Error::Http(response) => {
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
                assert_eq!(response.body().as_deref(), Some(&b"wrong token"[..]));
            }
            other => panic!("{other}"),
        }
    }
}
