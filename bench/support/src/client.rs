//! A client of the gateway that keeps one connection and times its turns.

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

/// The timing of a turn, from its request on.
#[derive(Debug, Clone, Copy, Default)]
pub struct TurnTiming {
    /// Until the first event.
    pub first: Duration,
    /// Until the last event.
    pub last: Duration,
    pub events: usize,
}

/// A client with one connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Client {
    /// Connects to a gateway.
    ///
    /// # Errors
    /// If the gateway does not listen.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self { address, sender, _connection: tasks })
    }

    /// Runs a turn through `/exec`.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn turn(
        &mut self,
        prompt: &str,
        session_id: Option<&str>,
    ) -> anyhow::Result<TurnTiming> {
        let body = serde_json::json!({ "prompt": prompt, "session_id": session_id }).to_string();
        let request = Request::post("/exec")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        if self.sender.ready().await.is_err() {
            // The server closed the idle connection while other systems were measured.
            *self = Self::connect(self.address).await?;
        }
        let begun = Instant::now();
        let response = self.sender.send_request(request).await?;
        anyhow::ensure!(response.status().is_success(), "{}", response.status());
        let mut body = response.into_body();
        let mut timing = TurnTiming::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if timing.events == 0 {
                timing.first = begun.elapsed();
            }
            timing.events += data.iter().filter(|byte| **byte == b'\n').count();
        }
        timing.last = begun.elapsed();
        Ok(timing)
    }
}
