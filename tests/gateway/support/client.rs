//! A small HTTP client with one connection per request: dropping a response closes it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn open(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (http::Response<Incoming>, JoinHandle<()>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    (sender.send_request(request).await.unwrap(), connection)
}

pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Reply {
    super::soon(path, async {
        let (response, connection) = open(address, method, path, headers, body).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    })
    .await
}

/// A response that is read line by line. Dropping it closes the connection.
pub struct Lines {
    pub status: u16,
    pub headers: http::HeaderMap,
    body: Incoming,
    buffer: Vec<u8>,
    connection: JoinHandle<()>,
}

pub async fn stream(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Lines {
    let (response, connection) =
        super::soon(path, open(address, method, path, headers, body)).await;
    let (head, body) = response.into_parts();
    Lines {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        buffer: Vec::new(),
        connection,
    }
}

impl Lines {
    /// Returns the next line without its line feed, `None` at the end.
    pub async fn next(&mut self) -> Option<String> {
        super::soon("a line", async {
            loop {
                if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                    let rest = self.buffer.split_off(end + 1);
                    let line = std::mem::replace(&mut self.buffer, rest);
                    return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
                }
                let frame = self.body.frame().await?.ok()?;
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
        })
        .await
    }

    /// Returns the next event of a JSON-lines stream.
    pub async fn event(&mut self) -> Option<Value> {
        loop {
            let line = self.next().await?;
            if !line.is_empty() {
                return Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}")));
            }
        }
    }

    /// Reads up to the first event of this type and returns it.
    pub async fn until(&mut self, kind: &str) -> Value {
        while let Some(event) = self.event().await {
            if event["msg"]["type"] == kind {
                return event;
            }
        }
        panic!("the stream ended without {kind}");
    }

    /// Returns the remaining events.
    pub async fn events(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }

    /// Returns the remaining server-sent events as id, event and data.
    pub async fn sse(&mut self) -> Vec<(String, String, Value)> {
        let mut events = Vec::new();
        let (mut id, mut name) = (String::new(), String::new());
        while let Some(line) = self.next().await {
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.to_owned();
            } else if let Some(value) = line.strip_prefix("event: ") {
                name = value.to_owned();
            } else if let Some(value) = line.strip_prefix("data: ") {
                events.push((id.clone(), name.clone(), serde_json::from_str(value).unwrap()));
            }
        }
        events
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Returns the types of events, in order.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["msg"]["type"].as_str().unwrap()).collect()
}

/// Whether `expected` appear in `all` in this order, possibly with others in between.
pub fn in_order(all: &[&str], expected: &[&str]) -> bool {
    let mut rest = all.iter();
    expected.iter().all(|expected| rest.any(|one| one == expected))
}
