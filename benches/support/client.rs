//! A client of the gateway's on one kept connection, which times what it is sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// When the first event of a turn came and when the last.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    pub(crate) events: usize,
}

/// A kept connection.
pub(crate) struct Client {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self { address, sender, _connection: tasks })
    }

    /// A turn through `/exec`.
    pub(crate) async fn turn(
        &mut self,
        prompt: &str,
        session_id: Option<&str>,
    ) -> anyhow::Result<Took> {
        let body = serde_json::json!({ "prompt": prompt, "session_id": session_id }).to_string();
        let request = Request::post("/exec")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        if self.sender.ready().await.is_err() {
            // It was idle for longer than a server waits: others had their turn.
            *self = Self::connect(self.address).await?;
        }
        let begun = Instant::now();
        let response = self.sender.send_request(request).await?;
        anyhow::ensure!(response.status().is_success(), "{}", response.status());
        let mut body = response.into_body();
        let mut took = Took { first: Duration::ZERO, last: Duration::ZERO, events: 0 };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if took.events == 0 {
                took.first = begun.elapsed();
            }
            took.events += data.iter().filter(|byte| **byte == b'\n').count();
        }
        took.last = begun.elapsed();
        Ok(took)
    }
}
