//! HTTP clients of the systems that speak HTTP: connections that are kept, and what is read from them
//! line by line.

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

/// Where a system listens, and the connections that nobody uses at the moment.
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

    /// An idle connection, or a new one.
    ///
    /// # Errors
    /// The system does not listen.
    pub(crate) async fn connection(&self) -> anyhow::Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(client) => Ok(Connection { client, of: self.clone() }),
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let (client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        self.tasks.spawn(async move { drop(connection.await) });
        Ok(Connection { client, of: self.clone() })
    }

    /// Asks, reads the answer, and keeps the connection.
    ///
    /// # Errors
    /// The answer is not one of success.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Bytes> {
        let mut connection = self.connection().await?;
        let response = connection.send(method, path, body).await?;
        let body = response.into_body().collect().await?.to_bytes();
        connection.give_back();
        Ok(body)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    client: SendRequest<Full<Bytes>>,
    of: Http,
}

impl Connection {
    /// Sends a request.
    ///
    /// # Errors
    /// The answer is not one of success.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        if self.client.ready().await.is_err() {
            // It was idle for longer than the system waits: others had their turn.
            *self = self.of.connect().await?;
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
            anyhow::bail!("{path} says {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(response)
    }

    pub(crate) fn give_back(self) {
        self.of.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.client);
    }
}

/// Lines out of chunks.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Shows each whole line to `each`, without its end.
    ///
    /// # Errors
    /// What `each` says.
    pub(crate) fn push(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            if self.0.is_empty() {
                each(line)?;
            } else {
                self.0.extend_from_slice(line);
                each(&self.0)?;
                self.0.clear();
            }
            rest = after.get(1..).unwrap_or_default();
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }
}

/// What stands between two marks; the empty string where there are none.
pub(crate) fn between<'a>(line: &'a [u8], before: &str, after: char) -> &'a str {
    let line = std::str::from_utf8(line).unwrap_or_default();
    let rest = line.split_once(before).map_or("", |(_, rest)| rest);
    rest.split(after).next().unwrap_or_default()
}
