//! An OTLP receiver of traces, metrics and logs over HTTP (protobuf; JSON is stored undecoded) and
//! gRPC, on one port. It can refuse, hang, stop and restart.
//!
//! - [`received`]: the decoded telemetry.

mod received;

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::HeaderMap;
use http::Request;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use received::Log;
pub use received::Received;
pub use received::Span;

use super::eventually;
use super::gateway::Setup;
use super::provider::Transport;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The response to an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Accepts,
    /// 503, or `UNAVAILABLE` of gRPC.
    Refuses,
    /// Reads the request and never answers.
    Hangs,
}

/// One export, as received.
#[derive(Debug, Clone)]
pub struct Export {
    pub path: String,
    pub headers: HeaderMap,
    /// The message, decompressed and without the framing of gRPC.
    pub body: Bytes,
    pub gzipped: bool,
}

#[derive(Debug)]
struct State {
    mode: Mutex<Mode>,
    exports: Mutex<Vec<Export>>,
    received: Mutex<Received>,
    connections: AtomicUsize,
}

/// A collector, running or stopped.
pub struct Collector {
    pub address: SocketAddr,
    /// The certificate a client must trust, as a file; present over TLS.
    pub certificate: Option<NamedTempFile>,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    task: Option<JoinHandle<()>>,
    /// The reserved port of a stopped collector.
    held: Option<TcpSocket>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::over(Transport::Plain).await
    }

    pub async fn over(transport: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Accepts),
            exports: Mutex::default(),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let address = listener.local_addr().unwrap();
        let (certificate, acceptor) = transport.identity().unzip();
        let task = Some(tokio::spawn(accept(listener, acceptor.clone(), Arc::clone(&state))));
        Self { address, certificate, acceptor, state, task, held: None }
    }

    pub fn set_mode(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    /// Stops listening and closes every connection.
    pub async fn stop(&mut self) {
        let task = self.task.take().expect("running");
        task.abort();
        let _ = task.await;
        // The port stays reserved: another process must not receive the exports.
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind(self.address).unwrap();
        self.held = Some(held);
    }

    /// Listens on the same port again.
    pub async fn restart(&mut self) {
        let listener = self.held.take().expect("stopped").listen(1024).unwrap();
        let (acceptor, state) = (self.acceptor.clone(), Arc::clone(&self.state));
        self.task = Some(tokio::spawn(accept(listener, acceptor, state)));
    }

    pub fn url(&self) -> String {
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Makes a gateway export here, with short delays.
    pub fn exporting(&self, setup: Setup) -> Setup {
        setup
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url())
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env("OTEL_BLRP_SCHEDULE_DELAY", "200")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
    }

    pub fn exports(&self) -> Vec<Export> {
        self.state.exports.lock().unwrap().clone()
    }

    /// Returns the exports of a signal: `traces`, `metrics` or `logs`.
    pub fn exports_of(&self, signal: &str) -> Vec<Export> {
        let word = if signal == "traces" { "trace" } else { signal };
        let its = |export: &Export| export.path.to_lowercase().contains(word);
        self.exports().into_iter().filter(its).collect()
    }

    /// Returns the number of accepted connections.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Returns the telemetry accepted so far.
    pub fn received(&self) -> Received {
        self.state.received.lock().unwrap().clone()
    }

    /// Waits until the accepted telemetry is enough and returns all of it.
    pub async fn until(&self, what: &str, enough: impl Fn(&Received) -> bool) -> Received {
        let there = eventually(what, || async { enough(&self.state.received.lock().unwrap()) });
        tokio::select! {
            () = there => self.received(),
            () = tokio::time::sleep(std::time::Duration::from_secs(30)) => {
                panic!("never happened: {what}\n{}", self.received().tree())
            }
        }
    }

    /// Waits for a span of this name. Returns the first, and all accepted telemetry.
    pub async fn span(&self, name: &str) -> (Span, Received) {
        let what = format!("a span {name:?}");
        let received =
            self.until(&what, |received| received.spans.iter().any(|one| one.name == name)).await;
        (received.span(name).clone(), received)
    }

    /// Returns each export that holds this text: its path, and the bytes before the text.
    pub fn excerpts(&self, text: &str) -> Vec<String> {
        let bytes = text.as_bytes();
        let exports = self.exports().into_iter();
        exports
            .filter_map(|export| {
                let at = export.body.windows(bytes.len()).position(|part| part == bytes)?;
                let around = &export.body[at.saturating_sub(120)..at + bytes.len()];
                Some(format!("{}: {}", export.path, String::from_utf8_lossy(around)))
            })
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    // Dropped with this task, which closes the connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        state.connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(request, &state).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = match acceptor {
                None => server.serve_connection(TokioIo::new(socket), service).await,
                Some(acceptor) => match acceptor.accept(socket).await {
                    Ok(socket) => server.serve_connection(TokioIo::new(socket), service).await,
                    // A client that does not trust the certificate.
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

async fn answer(request: Request<Incoming>, state: &State) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Response::builder().status(400).body(empty()).unwrap(),
    };
    let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let grpc = kind.starts_with("application/grpc");
    let gzipped = if grpc {
        // A compression flag and a four-byte length precede the message.
        let flag = body.split_to(5)[0];
        flag == 1
    } else {
        head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip")
    };
    if gzipped {
        let mut unpacked = Vec::new();
        GzDecoder::new(body.as_ref()).read_to_end(&mut unpacked).unwrap();
        body = unpacked.into();
    }
    let path = head.uri.path().to_owned();
    let export = Export { path: path.clone(), headers: head.headers, body: body.clone(), gzipped };
    state.exports.lock().unwrap().push(export);
    let mode = *state.mode.lock().unwrap();
    match mode {
        Mode::Hangs => std::future::pending().await,
        Mode::Refuses => refusal(grpc),
        Mode::Accepts => {
            if kind.starts_with("application/json") {
                // Not decoded: opentelemetry-proto reads no numbers with `arbitrary_precision` of
                // serde_json, which the dependency graph enables.
                serde_json::from_slice::<Value>(&body).unwrap();
                return accepted(grpc, &kind);
            }
            let mut received = state.received.lock().unwrap();
            match path.as_str() {
                "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
                    received.traces(ExportTraceServiceRequest::decode(body).unwrap());
                }
                "/v1/metrics"
                | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                    received.metrics(ExportMetricsServiceRequest::decode(body).unwrap());
                }
                "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
                    received.logs(ExportLogsServiceRequest::decode(body).unwrap());
                }
                _ => return Response::builder().status(404).body(empty()).unwrap(),
            }
            accepted(grpc, &kind)
        }
    }
}

fn empty() -> Body {
    frames([])
}

fn frames<const N: usize>(frames: [Frame<Bytes>; N]) -> Body {
    let frames = frames.into_iter().map(Ok);
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

/// An empty message: everything was accepted.
fn accepted(grpc: bool, kind: &str) -> Response<Body> {
    if !grpc {
        let body = if kind.starts_with("application/json") { "{}" } else { "" };
        let body = frames([Frame::data(Bytes::from_static(body.as_bytes()))]);
        return Response::builder().header("content-type", kind).body(body).unwrap();
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = frames([Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)]);
    Response::builder().header("content-type", kind).body(body).unwrap()
}

fn refusal(grpc: bool) -> Response<Body> {
    let response = Response::builder();
    let response = if grpc {
        response.header("content-type", "application/grpc").header("grpc-status", "14")
    } else {
        response.status(503)
    };
    response.body(empty()).unwrap()
}
