//! Plain clients in place of core, which isolate the bridge: they report the age of each stamped
//! delta on arrival.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use codex_gateway::bridge::Endpoint;
use codex_gateway::shutdown::Shutdown;
use codex_gateway_engine::model_socket;
use http::Request;
use http::Uri;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpStream;
use wires::sse::Parser;

use super::model::Clock;

/// A client of the model itself: SSE over one kept HTTP connection.
pub(crate) struct DirectClient(SendRequest<Full<Bytes>>);

impl DirectClient {
    pub(crate) async fn open(base_url: &str, tasks: &Shutdown) -> anyhow::Result<Self> {
        Ok(Self(connect(base_url, tasks).await?))
    }

    /// Returns the age of each delta of one response.
    pub(crate) async fn ages(
        &mut self,
        prompt: &str,
        clock: Clock,
    ) -> anyhow::Result<Vec<Duration>> {
        let body = Full::new(Bytes::from(request(prompt).to_string()));
        self.0.ready().await?;
        let response = self.0.send_request(Request::post("/v1/responses").body(body)?).await?;
        let mut body = response.into_body();
        let mut parser = Parser::default();
        let mut ages = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            for event in parser.push(&data)? {
                ages.extend(age(&event.data, clock));
            }
        }
        Ok(ages)
    }
}

/// A client of the bridge: Responses over WebSocket, as in core.
pub(crate) struct BridgeClient(model_socket::Socket);

impl BridgeClient {
    pub(crate) async fn open(endpoint: &Endpoint, id: &str) -> anyhow::Result<Self> {
        let address = endpoint.base_url.trim_start_matches("http://").parse()?;
        let request = Request::get(format!("/{id}/v1/responses"))
            .header("authorization", format!("Bearer {}", endpoint.bearer_token))
            .body(())?;
        let connected = model_socket::connect(address, request).await;
        Ok(Self(connected.map_err(|error| anyhow::anyhow!("the bridge refused: {error:?}"))?))
    }

    /// Returns the age of each delta of one response.
    pub(crate) async fn ages(
        &mut self,
        prompt: &str,
        clock: Clock,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut request = request(prompt);
        if let Some(members) = request.as_object_mut() {
            members.insert("type".to_owned(), "response.create".into());
        }
        self.0.sent.send(request.to_string().into()).await?;
        let mut ages = Vec::new();
        loop {
            let text = self.0.received.recv().await.context("the bridge closed the socket")?;
            ages.extend(age(&text, clock));
            if text.contains("\"response.completed\"") {
                return Ok(ages);
            }
        }
    }
}

async fn connect(url: &str, tasks: &Shutdown) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let url: Uri = url.parse()?;
    let socket = TcpStream::connect(url.authority().context("an address")?.as_str()).await?;
    socket.set_nodelay(true)?;
    let (client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tasks.spawn(async move { drop(connection.await) });
    Ok(client)
}

fn request(prompt: &str) -> Value {
    json!({ "model": "scripted", "stream": true, "input": [{
        "type": "message",
        "role": "user",
        "content": [{ "type": "input_text", "text": prompt }],
    }] })
}

/// Scans instead of parsing: the time spent here is part of the age.
fn age(event: &str, clock: Clock) -> Option<Duration> {
    let (_, delta) = event.split_once("\"delta\":\"")?;
    clock.age(delta.split('"').next()?)
}
