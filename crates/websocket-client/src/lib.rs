//! How core gets to its model: over WebSocket to the gateway's bridge, on a private port of this machine.
//!
//! The crate of this name connects to any host, so it reads all root certificates before each connection,
//! those of conversations that will never see TLS among them: a seventh of what a new conversation cost. It
//! gives every connection a buffer of 128 KiB, and sends it through a proxy where the environment names one.
//! The bridge needs none of it, and nobody else is to be reached this way: providers are the bridge's.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use codex_http_client::BuildCustomCaTransportError;
use codex_http_client::HttpClientFactory;
use codex_tungstenite::WebSocketStream;
use codex_tungstenite::tungstenite::Error;
use codex_tungstenite::tungstenite::Message;
use codex_tungstenite::tungstenite::handshake::client::Request;
use codex_tungstenite::tungstenite::handshake::client::Response;
use codex_tungstenite::tungstenite::protocol::WebSocketConfig;
use futures::Sink;
use futures::Stream;
use tokio::net::TcpStream;

/// What is read at a time; as much is kept for as long as the connection lives.
const READ_BYTES: usize = 16 * 1024;

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

    /// Connects and shakes hands (RFC 6455, section 4).
    ///
    /// # Errors
    /// The address is not `ws://` and a loopback address with a port; nobody listens there, or whoever does
    /// refuses.
    pub async fn connect(
        &self,
        request: Request,
        config: WebSocketConfig,
    ) -> Result<(WebSocketConnection, Response), Error> {
        let address = loopback(&request).ok_or_else(|| {
            let uri = request.uri();
            let message = format!("expected the bridge, ws:// at a loopback address, not {uri}");
            Error::Io(io::Error::new(io::ErrorKind::Unsupported, message))
        })?;
        let stream = TcpStream::connect(address).await?;
        // A request is a message; its last part waits for nothing.
        stream.set_nodelay(true)?;
        let config = config.read_buffer_size(READ_BYTES);
        let (connection, response) =
            codex_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok((WebSocketConnection(connection), response))
    }
}

fn loopback(request: &Request) -> Option<SocketAddr> {
    let uri = request.uri();
    if uri.scheme_str() != Some("ws") {
        return None;
    }
    let host = uri.host()?.trim_matches(['[', ']']);
    let address: IpAddr = host.parse().ok()?;
    address.is_loopback().then_some(SocketAddr::new(address, uri.port_u16()?))
}

/// A connection to the bridge.
#[derive(Debug)]
pub struct WebSocketConnection(WebSocketStream<TcpStream>);

impl Stream for WebSocketConnection {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context)
    }
}

impl Sink<Message> for WebSocketConnection {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.0).poll_ready(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Pin::new(&mut self.0).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use codex_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;

    #[test]
    fn only_the_bridge_is_reached() {
        for (url, reached) in [
            ("ws://127.0.0.1:4711/demo/v1/responses", true),
            ("ws://[::1]:4711/", true),
            ("wss://127.0.0.1:4711/", false),
            ("ws://127.0.0.1/", false),
            ("ws://10.0.0.1:4711/", false),
            ("ws://api.example.com:443/v1/responses", false),
        ] {
            let request = url.into_client_request().unwrap();
            assert_eq!(loopback(&request).is_some(), reached, "{url}");
        }
    }
}
