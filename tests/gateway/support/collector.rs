//! An OTLP receiver: traces, metrics and logs over HTTP (protobuf; JSON is kept unread) and gRPC, on one port. It keeps
//! what it is sent, and can be told to refuse, to hang, to be gone and to come back.
//!
//! - [`kept`]: what was sent, in the words of the tests.

mod kept;

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

pub use kept::Kept;
pub use kept::Log;
pub use kept::Span;

use super::eventually;
use super::gateway::Setup;
use super::provider::Transport;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What it does with an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// 503, or gRPC's `UNAVAILABLE`.
    Refuses,
    /// Reads, and never answers.
    Hangs,
}

/// One export, as it came.
#[derive(Debug, Clone)]
pub struct Export {
    pub path: String,
    pub headers: HeaderMap,
    /// The message, without gRPC's framing, unpacked.
    pub body: Bytes,
    pub gzipped: bool,
}

#[derive(Debug)]
struct State {
    mood: Mutex<Mood>,
    exports: Mutex<Vec<Export>>,
    kept: Mutex<Kept>,
    connections: AtomicUsize,
}

/// A collector that is running, or was.
pub struct Collector {
    pub address: SocketAddr,
    /// What a client must trust, as a file; there over TLS.
    pub certificate: Option<NamedTempFile>,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    task: Option<JoinHandle<()>>,
    /// The port, while nobody listens there.
    held: Option<TcpSocket>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::over(Transport::Plain).await
    }

    pub async fn over(transport: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            mood: Mutex::new(Mood::Takes),
            exports: Mutex::default(),
            kept: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let address = listener.local_addr().unwrap();
        let (certificate, acceptor) = transport.identity().unzip();
        let task = Some(tokio::spawn(accept(listener, acceptor.clone(), Arc::clone(&state))));
        Self { address, certificate, acceptor, state, task, held: None }
    }

    pub fn mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Nobody listens any longer, and every connection is gone.
    pub async fn stop(&mut self) {
        let task = self.task.take().expect("it runs");
        task.abort();
        let _ = task.await;
        // The port stays its own: another process would be sent what this one is to miss.
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind(self.address).unwrap();
        self.held = Some(held);
    }

    /// Listens again where it did.
    pub async fn come_back(&mut self) {
        let listener = self.held.take().expect("it is not there").listen(1024).unwrap();
        let (acceptor, state) = (self.acceptor.clone(), Arc::clone(&self.state));
        self.task = Some(tokio::spawn(accept(listener, acceptor, state)));
    }

    pub fn url(&self) -> String {
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// A gateway that exports here, soon.
    pub fn observes(&self, setup: Setup) -> Setup {
        setup
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url())
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env("OTEL_BLRP_SCHEDULE_DELAY", "200")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
    }

    pub fn exports(&self) -> Vec<Export> {
        self.state.exports.lock().unwrap().clone()
    }

    /// Exports of a signal: `traces`, `metrics`, `logs`.
    pub fn exports_of(&self, signal: &str) -> Vec<Export> {
        let word = if signal == "traces" { "trace" } else { signal };
        let its = |export: &Export| export.path.to_lowercase().contains(word);
        self.exports().into_iter().filter(its).collect()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// What was taken so far.
    pub fn kept(&self) -> Kept {
        self.state.kept.lock().unwrap().clone()
    }

    /// Waits until what was taken is enough; all of it.
    pub async fn until(&self, what: &str, enough: impl Fn(&Kept) -> bool) -> Kept {
        let there = eventually(what, || async { enough(&self.state.kept.lock().unwrap()) });
        tokio::select! {
            () = there => self.kept(),
            () = tokio::time::sleep(std::time::Duration::from_secs(30)) => {
                panic!("never happened: {what}\n{}", self.kept().tree())
            }
        }
    }

    /// Waits for a span of this name; the first, and all that was taken.
    pub async fn span(&self, name: &str) -> (Span, Kept) {
        let what = format!("a span {name:?}");
        let kept = self.until(&what, |kept| kept.spans.iter().any(|one| one.name == name)).await;
        (kept.span(name).clone(), kept)
    }

    /// Where an export holds this text: its path, and what stands before the text.
    pub fn holds(&self, text: &str) -> Vec<String> {
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
    // Dropped with this task, and its connections with it.
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
        // A flag for compression and the length in four bytes stand before the message.
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
    let mood = *state.mood.lock().unwrap();
    match mood {
        Mood::Hangs => std::future::pending().await,
        Mood::Refuses => refusal(grpc),
        Mood::Takes => {
            if kind.starts_with("application/json") {
                // Kept as it came: with serde_json's `arbitrary_precision`, which the graph turns on,
                // opentelemetry-proto reads no numbers.
                serde_json::from_slice::<Value>(&body).unwrap();
                return taken(grpc, &kind);
            }
            let mut kept = state.kept.lock().unwrap();
            match path.as_str() {
                "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
                    kept.traces(ExportTraceServiceRequest::decode(body).unwrap());
                }
                "/v1/metrics"
                | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                    kept.metrics(ExportMetricsServiceRequest::decode(body).unwrap());
                }
                "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
                    kept.logs(ExportLogsServiceRequest::decode(body).unwrap());
                }
                _ => return Response::builder().status(404).body(empty()).unwrap(),
            }
            taken(grpc, &kind)
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

/// An empty message, which says that everything was taken.
fn taken(grpc: bool, kind: &str) -> Response<Body> {
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
