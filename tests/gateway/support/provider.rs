//! A provider that answers from a script, call by call, and records its requests; over plain HTTP
//! or over TLS with a self-signed certificate.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::Request;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::HttpService;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The end of an answer, after its last event.
#[derive(Clone, Copy, PartialEq)]
pub enum End {
    /// The body ends.
    Proper,
    /// The connection breaks.
    Cut,
    /// Nothing more arrives, and the body never ends.
    Hang,
}

/// One answer of the script.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: String,
    pub end: End,
}

/// One request, as received.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    pub method: String,
    pub path: String,
    pub version: http::Version,
    pub headers: http::HeaderMap,
    pub body: Value,
}

/// A running provider.
pub struct Provider {
    pub address: String,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
    /// Connections opened; over TLS, handshakes started.
    pub connections: Arc<AtomicUsize>,
    /// Answers in progress.
    pub open: Arc<AtomicUsize>,
    /// The certificate a client must trust, as a file; present over TLS.
    pub certificate: Option<NamedTempFile>,
    script: Arc<Mutex<VecDeque<Answer>>>,
}

/// The transport of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Plain,
    /// TLS with HTTP/1.1.
    Tls,
    /// TLS with HTTP/2 offered.
    TlsH2,
}

impl Transport {
    /// Creates a certificate for the loopback address and its acceptor, `None` if plain.
    pub fn identity(self) -> Option<(NamedTempFile, TlsAcceptor)> {
        if self == Self::Plain {
            return None;
        }
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = match self {
            Self::TlsH2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Plain | Self::Tls => vec![b"http/1.1".to_vec()],
        };
        let file = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(file.path(), made.cert.pem()).unwrap();
        Some((file, TlsAcceptor::from(Arc::new(config))))
    }
}

async fn serve<I, S>(socket: I, h2: bool, service: S) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = UnsyncBoxBody<Bytes, std::io::Error>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let socket = TokioIo::new(socket);
    if h2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.serve_connection(socket, service).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(socket, service).await
    }
}

/// An answer that streams these `data:` events, each named by its `type` if it has one.
pub fn sse(events: &[Value]) -> Answer {
    let body = events
        .iter()
        .map(|event| match event["type"].as_str() {
            Some(name) => format!("event: {name}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        })
        .collect();
    Answer { status: 200, headers: Vec::new(), body, end: End::Proper }
}

pub fn status(status: u16, body: &Value) -> Answer {
    Answer { status, headers: Vec::new(), body: body.to_string(), end: End::Proper }
}

impl Provider {
    pub async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::over(Transport::Plain, script).await
    }

    pub async fn over(transport: Transport, script: impl IntoIterator<Item = Answer>) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), transport, script)
    }

    pub fn on(listener: TcpListener, script: impl IntoIterator<Item = Answer>) -> Self {
        Self::serve(listener, Transport::Plain, script)
    }

    fn serve(
        listener: TcpListener,
        transport: Transport,
        script: impl IntoIterator<Item = Answer>,
    ) -> Self {
        let tls = transport.identity();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (certificate, acceptor) = tls.unzip();
        let this = Self {
            address: format!("{scheme}://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
            certificate,
            script: Arc::new(Mutex::new(script.into_iter().collect())),
        };
        let (requests, script) = (Arc::clone(&this.requests), Arc::clone(&this.script));
        let (connections, open) = (Arc::clone(&this.connections), Arc::clone(&this.open));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, script, open) =
                    (Arc::clone(&requests), Arc::clone(&script), Arc::clone(&open));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (requests, script, open) =
                        (Arc::clone(&requests), Arc::clone(&script), Arc::clone(&open));
                    async move { Ok::<_, Infallible>(answer(request, &requests, &script, open).await) }
                });
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let _ = match acceptor {
                        None => serve(socket, false, service).await,
                        Some(acceptor) => match acceptor.accept(socket).await {
                            Ok(socket) => {
                                let h2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
                                serve(socket, h2, service).await
                            }
                            // A client that does not trust the certificate.
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        this
    }

    /// Replaces the rest of the script with this answer.
    pub fn respond_with(&self, answer: Answer) {
        *self.script.lock().unwrap() = [answer].into();
    }

    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the configuration that makes it the provider, over `wire_api`.
    pub fn config(&self, wire_api: &str, model: &str) -> String {
        let path = if matches!(wire_api, "chat" | "responses") { "/v1" } else { "" };
        format!(
            "model = \"{model}\"\nmodel_provider = \"scripted\"\n[model_providers.scripted]\nname = \"Scripted\"\n\
             base_url = \"{}{path}\"\nwire_api = \"{wire_api}\"\nenv_key = \"SCRIPTED_KEY\"\n\
             request_max_retries = 2\nstream_max_retries = 0\n",
            self.address
        )
    }
}

/// Decrements the counter when dropped.
struct CountGuard(Arc<AtomicUsize>);

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(
    request: Request<Incoming>,
    requests: &Mutex<Vec<RecordedRequest>>,
    script: &Mutex<VecDeque<Answer>>,
    open: Arc<AtomicUsize>,
) -> Response<UnsyncBoxBody<Bytes, std::io::Error>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    requests.lock().unwrap().push(RecordedRequest {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        version: head.version,
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    let answer = {
        let mut script = script.lock().unwrap();
        // The last answer of the script repeats.
        let last = script.front().cloned().expect("the script has an answer");
        if script.len() > 1 { script.pop_front().unwrap() } else { last }
    };
    open.fetch_add(1, Ordering::SeqCst);
    let guard = CountGuard(open);
    let first = stream::iter([Ok(Frame::data(Bytes::from(answer.body)))]);
    let rest = match answer.end {
        End::Proper => stream::empty().boxed(),
        End::Cut => stream::iter([Err(std::io::Error::other("cut"))]).boxed(),
        End::Hang => stream::pending().boxed(),
    };
    let body = first.chain(rest).inspect(move |_| {
        let _ = &guard;
    });
    let mut response = Response::builder().status(answer.status);
    if !answer.headers.iter().any(|(name, _)| *name == "content-type") {
        let kind = if answer.status == 200 { "text/event-stream" } else { "application/json" };
        response = response.header("content-type", kind);
    }
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(StreamBody::new(body).boxed_unsync()).unwrap()
}
