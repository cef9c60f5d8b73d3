//! The scripted model: the Responses API over SSE with keep-alive, on its own thread and runtime, so
//! that it behaves the same for every client.
//!
//! `deltas: N` in a request asks for N text deltas as fast as possible; `stamped: N` asks for N
//! deltas one at a time, each with its send time. The last directive in the request counts.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use codex_gateway::shutdown::Shutdown;
use futures::Stream;
use futures::StreamExt;
use http::Method;
use http::Request;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The pause between two stamped deltas.
const PAUSE: Duration = Duration::from_millis(2);
/// Unstamped deltas per write.
const CHUNK: usize = 64;

/// The clock of the time stamps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the age of a stamped delta; `None` for other text.
    pub(crate) fn age(self, delta: &str) -> Option<Duration> {
        let sent = delta.trim().parse().ok()?;
        Some(Duration::from_nanos(self.nanos().saturating_sub(sent)))
    }
}

/// Starts the model for the life of the process. Returns its base URL.
pub(crate) fn start(clock: Clock) -> anyhow::Result<String> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let base_url = format!("http://{}/v1", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("model".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(accept(listener, clock)) {
            eprintln!("the scripted model ended: {error}");
        }
    })?;
    Ok(base_url)
}

async fn accept(listener: std::net::TcpListener, clock: Clock) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let tasks = Shutdown::default();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tasks.spawn(serve(socket, clock));
    }
}

async fn serve(socket: TcpStream, clock: Clock) {
    let service = service_fn(move |request| async move { answer(request, clock).await });
    // A client that disconnects early is not an error.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    clock: Clock,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, anyhow::Error> {
    let is_model_call = request.method() == Method::POST;
    let body = request.into_body().collect().await?.to_bytes();
    let (content_type, frames) = if is_model_call {
        ("text/event-stream", response(Script::of(&body), clock).boxed())
    } else {
        let models = async { json!({ "models": [] }).to_string() };
        ("application/json", futures::stream::once(models).boxed())
    };
    let frames = frames.map(|text| Ok(Frame::data(Bytes::from(text))));
    let body = StreamBody::new(frames).boxed_unsync();
    Ok(Response::builder().header("content-type", content_type).body(body)?)
}

#[derive(Debug, Clone, Copy)]
enum Script {
    Deltas(usize),
    Stamped(usize),
}

impl Script {
    fn of(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let last = |directive: &str| {
            let at = text.rfind(directive)?;
            let digits = text.get(at + directive.len()..)?;
            let end = digits.find(|letter: char| !letter.is_ascii_digit())?;
            Some((at, digits.get(..end)?.parse().ok()?))
        };
        match (last("deltas: "), last("stamped: ")) {
            (Some((deltas, _)), Some((stamped, count))) if stamped > deltas => Self::Stamped(count),
            (Some((_, count)), _) => Self::Deltas(count),
            (None, Some((_, count))) => Self::Stamped(count),
            (None, None) => Self::Deltas(1),
        }
    }
}

fn response(script: Script, clock: Clock) -> impl Stream<Item = String> + Send {
    let response_id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    let item_id = format!("msg_{}", uuid::Uuid::now_v7().simple());
    async_stream::stream! {
        let mut text = String::new();
        yield framed(&json!({ "type": "response.created", "response": { "id": response_id } }))
            + &framed(&json!({
                "type": "response.output_item.added",
                "output_index": 0,
                "item": { "type": "message", "role": "assistant", "id": item_id, "content": [] },
            }));
        match script {
            Script::Deltas(count) => {
                for first in (0..count).step_by(CHUNK) {
                    let mut chunk = String::new();
                    for n in first..count.min(first + CHUNK) {
                        let piece = format!("{n} ");
                        chunk.push_str(&delta(&item_id, &piece));
                        text.push_str(&piece);
                    }
                    yield chunk;
                }
            }
            Script::Stamped(count) => {
                for _ in 0..count {
                    tokio::time::sleep(PAUSE).await;
                    let piece = format!("{} ", clock.nanos());
                    text.push_str(&piece);
                    yield delta(&item_id, &piece);
                }
            }
        }
        yield framed(&json!({
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {
                "type": "message",
                "role": "assistant",
                "id": item_id,
                "content": [{ "type": "output_text", "text": text }],
            },
        })) + &framed(&json!({
            "type": "response.completed",
            "response": {
                "id": response_id,
                "usage": {
                    "input_tokens": 8,
                    "input_tokens_details": { "cached_tokens": 0 },
                    "output_tokens": 8,
                    "output_tokens_details": { "reasoning_tokens": 0 },
                    "total_tokens": 16,
                },
            },
        }));
    }
}

fn framed(event: &Value) -> String {
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {kind}\ndata: {event}\n\n")
}

/// Formatted by hand because there are thousands. The delta needs no escaping.
fn delta(item_id: &str, piece: &str) -> String {
    format!(
        "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\
         \"item_id\":\"{item_id}\",\"output_index\":0,\"content_index\":0,\"delta\":\"{piece}\"}}\n\n"
    )
}
