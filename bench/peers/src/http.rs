//! A client for the systems with an HTTP API: pooled connections, and bodies read line by line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use codex_gateway::shutdown::Shutdown;
use http::Method;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The address of a system and its idle connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
    tasks: Shutdown,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Arc::default(), tasks: Shutdown::default() }
    }

    /// Returns an idle connection, or a new one.
    ///
    /// # Errors
    /// If the system does not listen.
    pub(crate) async fn connection(&self) -> anyhow::Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(client) => Ok(Connection { client, pool: self.clone() }),
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let (client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        self.tasks.spawn(async move { drop(connection.await) });
        Ok(Connection { client, pool: self.clone() })
    }

    /// Sends a request, reads the response, and keeps the connection.
    ///
    /// # Errors
    /// If the request fails or its status is not a success.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Bytes> {
        let mut connection = self.connection().await?;
        let response = connection.send(method, path, body).await?;
        let body = response.into_body().collect().await?.to_bytes();
        connection.release();
        Ok(body)
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    client: SendRequest<Full<Bytes>>,
    pool: Http,
}

impl Connection {
    /// Sends a request.
    ///
    /// # Errors
    /// If the request fails or its status is not a success.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        if self.client.ready().await.is_err() {
            // The system closed the idle connection while others were measured.
            *self = self.pool.connect().await?;
        }
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body.map(Value::to_string).unwrap_or_default().into()))?;
        let response = self.client.send_request(request).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::bail!("{path}: status {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(response)
    }

    /// Returns the connection to the pool.
    pub(crate) fn release(self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.client);
    }
}

/// Splits chunks into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Passes each complete line to `on_line`, without its line feed.
    ///
    /// # Errors
    /// Any error of `on_line`.
    pub(crate) fn push(
        &mut self,
        chunk: &[u8],
        mut on_line: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut remaining = chunk;
        while let Some(end) = remaining.iter().position(|byte| *byte == b'\n') {
            let (line, after) = remaining.split_at(end);
            if self.0.is_empty() {
                on_line(line)?;
            } else {
                self.0.extend_from_slice(line);
                on_line(&self.0)?;
                self.0.clear();
            }
            remaining = after.get(1..).unwrap_or_default();
        }
        self.0.extend_from_slice(remaining);
        Ok(())
    }
}

/// Returns the text between two marks; empty if they are missing.
pub(crate) fn between<'a>(line: &'a [u8], before: &str, after: char) -> &'a str {
    let line = std::str::from_utf8(line).unwrap_or_default();
    let text = line.split_once(before).map_or("", |(_, text)| text);
    text.split(after).next().unwrap_or_default()
}
