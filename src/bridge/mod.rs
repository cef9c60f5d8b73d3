//! The model bridge: between codex-core and every model.
//!
//! Core speaks one dialect, the Responses API, and treats HTTP as cheap: over HTTP it builds a new
//! client and a new connection for every call. So core's provider is this process, which speaks what core
//! prefers, one WebSocket per conversation, and behind it are warm, pooled connections to the real
//! providers, whatever they speak.
//!
//! The WebSockets stay within the process: their messages never see a network. On a private port of the
//! machine, at the same address and with the same token, is what core uses HTTP for: `…/responses` where
//! WebSockets fail it, and `…/models` of its default provider where a ChatGPT login lies in its home, to
//! bring its catalogue of models up to date.
//!
//! - this file: the two doors, their token, their routes;
//! - [`socket`]: Responses over WebSocket, with core's incremental input made whole;
//! - [`ask`]: one model call as core asked for it; [`request`]: what it asks, kept as core wrote it;
//! - [`backend`]: who answers it: the [`demo`] model, or providers by their [`route`];
//! - [`upstream`]: one provider, asked over its [`wire`]; [`provider`]: what is configured of it, or
//!   [`built_in`]; [`client`]: the pooled connections; [`sse`]: its stream; [`origin`]: what only it
//!   can read;
//! - [`credentials`]: the keys that sessions bring along;
//! - [`calls`]: what is under way, so that a turn that is stopped takes it along; [`meter`]: how it
//!   goes; [`record`]: what it was.

pub mod ask;
pub mod backend;
pub mod built_in;
pub mod calls;
pub mod client;
pub mod credentials;
pub mod demo;
mod meter;
pub mod origin;
pub mod provider;
pub mod record;
pub mod request;
pub mod route;
mod socket;
mod span;
pub mod sse;
pub mod upstream;
pub mod wire;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use codex_gateway_engine::model_socket;
use codex_gateway_engine::model_socket::Listener;
use futures::StreamExt;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use self::ask::Ask;
use self::backend::Backend;
use self::backend::Backends;
use self::calls::Calls;
use self::request::ModelRequest;
use crate::shutdown::Shutdown;
use crate::web::Body;
use crate::web::reply;

/// Where core finds its model.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Core opens `{base_url}/{provider}/v1/responses`.
    pub base_url: String,
    /// Made for this process; nothing else gets in.
    pub bearer_token: String,
}

/// What a connection of core's needs, by either door.
#[derive(Debug, Clone)]
struct Door {
    authorization: Arc<str>,
    backends: Backends,
    calls: Calls,
    shutdown: Shutdown,
}

/// Opens both doors, at a free loopback port.
///
/// # Errors
/// There is no loopback to listen on.
pub async fn start(
    backends: Backends,
    calls: Calls,
    shutdown: &Shutdown,
) -> std::io::Result<Endpoint> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let endpoint = Endpoint {
        base_url: format!("http://{address}"),
        bearer_token: uuid::Uuid::new_v4().simple().to_string(),
    };
    let door = Door {
        authorization: format!("Bearer {}", endpoint.bearer_token).into(),
        backends,
        calls,
        shutdown: shutdown.clone(),
    };
    shutdown.spawn_until_forced(connect(model_socket::listen(address), door.clone()));
    shutdown.spawn_listener("the bridge", listener, move |socket| serve(socket, door.clone()));
    Ok(endpoint)
}

impl Door {
    /// Who answers a request, and the resource it is for.
    fn admit<'a, B>(&self, request: &'a Request<B>) -> Result<(Backend, &'a str), Refusal> {
        let sent = request.headers().get(header::AUTHORIZATION);
        let sent = sent.map_or(&b""[..], |value| value.as_bytes());
        if !bool::from(sent.ct_eq(self.authorization.as_bytes())) {
            return Err((
                StatusCode::UNAUTHORIZED,
                "this listener belongs to the gateway's own core",
            ));
        }
        let mut segments = request.uri().path().trim_matches('/').split('/');
        let backend = match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some(provider), Some("v1"), Some(resource), None) => {
                self.backends.get(provider).map(|backend| (backend.clone(), resource))
            }
            _ => None,
        };
        backend.ok_or(NOT_FOUND)
    }
}

/// A status, and a sentence to go with it.
type Refusal = (StatusCode, &'static str);

const NOT_FOUND: Refusal = (StatusCode::NOT_FOUND, "expected /{provider}/v1/responses or …/models");

/// Answers core's WebSockets, until the end of the process: turns that are drained still need their model.
async fn connect(mut listener: Listener, door: Door) {
    while let Some(call) = listener.next().await {
        match door.admit(call.request()) {
            Ok((backend, "responses")) => {
                let Some(socket) = call.accept() else { continue };
                door.shutdown.spawn_until_forced(socket::serve(
                    socket,
                    backend,
                    door.calls.clone(),
                ));
            }
            Ok(_) => call.refuse(NOT_FOUND.0, NOT_FOUND.1),
            Err((status, message)) => call.refuse(status, message),
        }
    }
}

async fn serve(socket: TcpStream, door: Door) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(answer(request, door).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of core's ended");
    }
}

async fn answer(request: Request<Incoming>, door: Door) -> Response<Body> {
    let (backend, resource) = match door.admit(&request) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(refusal),
    };
    match (request.method(), resource) {
        (&Method::POST, "responses") => over_http(request, &backend, &door.calls).await,
        (&Method::GET, "models") => reply::json(StatusCode::OK, &models(&backend)),
        _ => refuse(NOT_FOUND),
    }
}

/// The models that configuration names, as OpenAI lists them.
///
/// `models` is core's own list, and stays empty: core would put what it says in the place of what its
/// catalogue knows of a model, context window and tools among it, and configuration knows less.
fn models(backend: &Backend) -> serde_json::Value {
    let data: Vec<serde_json::Value> = backend
        .models()
        .into_iter()
        .map(|model| serde_json::json!({ "id": model, "object": "model" }))
        .collect();
    serde_json::json!({ "object": "list", "data": data, "models": [] })
}

/// Responses over HTTP and SSE: what core falls back to.
async fn over_http(request: Request<Incoming>, backend: &Backend, calls: &Calls) -> Response<Body> {
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let traceparent = traceparent.map(str::to_owned);
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse((StatusCode::BAD_REQUEST, &error.to_string())),
    };
    let mut ask = match ModelRequest::parse(&body) {
        Ok(request) => Ask::new(request),
        Err(error) => return refuse((StatusCode::BAD_REQUEST, &error.to_string())),
    };
    ask.traceparent = ask.traceparent.or(traceparent);
    ask.trace = calls.context_of(&ask);
    let mut events = backend.answer(ask);
    // An error before anything else has a status over HTTP.
    let first = events.next().await;
    if let Some(error) = first.as_ref().filter(|event| event.kind == "error") {
        let document: serde_json::Value = serde_json::from_str(&error.json).unwrap_or_default();
        let status = document.get("status").and_then(serde_json::Value::as_u64);
        let status =
            status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
        return reply::json(status.unwrap_or(StatusCode::BAD_GATEWAY), &document);
    }
    let frames = futures::stream::iter(first)
        .chain(events)
        .map(|event| Bytes::from(format!("event: {}\ndata: {}\n\n", event.kind, event.json)));
    reply::stream("text/event-stream", Body::stream(frames, ()))
}

fn refuse((status, message): (StatusCode, &str)) -> Response<Body> {
    let document = serde_json::json!({ "error": { "code": "bridge", "message": message } });
    reply::json(status, &document)
}

#[cfg(test)]
mod tests {
    use super::*;

    use codex_gateway_engine::model_socket::ConnectError;
    use codex_gateway_engine::model_socket::Socket;

    async fn call(endpoint: &Endpoint, path: &str, token: &str) -> Result<Socket, ConnectError> {
        let address = endpoint.base_url.trim_start_matches("http://").parse().unwrap();
        let request = Request::get(path).header("authorization", token).body(()).unwrap();
        model_socket::connect(address, request).await
    }

    #[tokio::test]
    async fn core_is_answered_within_the_process_and_nobody_else_is() {
        let demo = Backend::Demo(record::Records::default());
        let shutdown = Shutdown::default();
        let backends: Backends = Arc::new([("demo".to_owned(), demo)].into());
        let endpoint = start(backends, Calls::default(), &shutdown).await.unwrap();
        let token = format!("Bearer {}", endpoint.bearer_token);
        for (path, token, expected) in [
            ("/demo/v1/responses", "Bearer ", StatusCode::UNAUTHORIZED),
            ("/demo/v1/responses", endpoint.bearer_token.as_str(), StatusCode::UNAUTHORIZED),
            ("/other/v1/responses", &token, StatusCode::NOT_FOUND),
            ("/demo/v1/models", &token, StatusCode::NOT_FOUND),
            ("/demo/v1/responses/more", &token, StatusCode::NOT_FOUND),
            ("/", &token, StatusCode::NOT_FOUND),
        ] {
            match call(&endpoint, path, token).await {
                Err(ConnectError::Refused { status, .. }) => assert_eq!(status, expected, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }

        let mut socket = call(&endpoint, "/demo/v1/responses", &token).await.unwrap();
        for (sent, received) in [
            ("{", "invalid_request"),
            (r#"{ "type": "other" }"#, "response.create"),
            (r#"{ "type": "response.create", "input": 1 }"#, "expected `input`"),
        ] {
            socket.sent.send(sent.into()).await.unwrap();
            let text = socket.received.recv().await.unwrap();
            assert!(text.contains(received), "{text}");
        }
        let ask = r#"{ "type": "response.create", "generate": false, "input": [] }"#;
        socket.sent.send(ask.into()).await.unwrap();
        for kind in ["response.created", "response.completed"] {
            assert!(socket.received.recv().await.unwrap().contains(kind));
        }
        // The end of the process ends it.
        shutdown.force.cancel();
        assert!(socket.received.recv().await.is_none());
        tokio::task::yield_now().await;
        assert_eq!(call(&endpoint, "/", &token).await.unwrap_err(), ConnectError::NoListener);
    }

    #[test]
    fn models_are_listed_as_openai_does_and_core_keeps_its_catalogue() {
        let listed = models(&Backend::Demo(record::Records::default()));
        let data = serde_json::json!([{ "id": "demo", "object": "model" }]);
        assert_eq!(listed, serde_json::json!({ "object": "list", "data": data, "models": [] }));
    }
}
