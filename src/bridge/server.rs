//! The bridge's server for core, in two forms with one address and one token.
//!
//! WebSockets stay within the process: their messages never reach a network. A private loopback
//! port serves the requests that core sends over HTTP: `…/responses` if WebSockets fail, and
//! `…/models` of its default provider if its home holds a ChatGPT login, to update its catalogue of
//! models.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::BytesMut;
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
use serde_json::Value;
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::backend::Backend;
use super::backend::Backends;
use super::call::ModelCall;
use super::event::Kind;
use super::in_flight::InFlight;
use super::request::ModelRequest;
use super::session;
use crate::shutdown::Shutdown;
use crate::web::Body;
use crate::web::reply;
use crate::web::sse;

/// The address of the bridge.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Core opens `{base_url}/{provider}/v1/responses`.
    pub base_url: String,
    /// The token of this process, without which every request is rejected.
    pub bearer_token: String,
}

/// The state that the connections of core share.
#[derive(Debug, Clone)]
struct BridgeServer {
    authorization: Arc<str>,
    backends: Backends,
    in_flight: InFlight,
    shutdown: Shutdown,
}

/// Starts the server at a free loopback port.
///
/// # Errors
/// The port cannot be opened.
pub async fn start(
    backends: Backends,
    in_flight: InFlight,
    shutdown: &Shutdown,
) -> std::io::Result<Endpoint> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let endpoint = Endpoint {
        base_url: format!("http://{address}"),
        bearer_token: uuid::Uuid::new_v4().simple().to_string(),
    };
    let server = BridgeServer {
        authorization: format!("Bearer {}", endpoint.bearer_token).into(),
        backends,
        in_flight,
        shutdown: shutdown.clone(),
    };
    let sockets = model_socket::listen(address);
    shutdown.spawn_until_forced(server.clone().accept_sockets(sockets));
    shutdown.spawn_listener("the bridge", listener, move |socket| server.clone().serve(socket));
    Ok(endpoint)
}

/// The status and the message of a rejected request.
type AccessDenied = (StatusCode, &'static str);

const NOT_FOUND: AccessDenied =
    (StatusCode::NOT_FOUND, "expected /{provider}/v1/responses or …/models");

impl BridgeServer {
    /// Authorizes a request. Returns its backend and its resource.
    fn admit<'a, B>(&self, request: &'a Request<B>) -> Result<(Backend, &'a str), AccessDenied> {
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

    /// Accepts core's WebSockets until the process ends: draining turns still need their model.
    async fn accept_sockets(self, mut listener: Listener) {
        while let Some(request) = listener.next().await {
            match self.admit(request.request()) {
                Ok((backend, "responses")) => {
                    let Some(socket) = request.accept() else { continue };
                    let session = session::serve(socket, backend, self.in_flight.clone());
                    self.shutdown.spawn_until_forced(session);
                }
                Ok(_) => request.refuse(NOT_FOUND.0, NOT_FOUND.1),
                Err((status, message)) => request.refuse(status, message),
            }
        }
    }

    /// Serves one HTTP connection of core's.
    async fn serve(self, socket: TcpStream) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection of core's ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (backend, resource) = match self.admit(&request) {
            Ok(admitted) => admitted,
            Err((status, message)) => return reject(status, message),
        };
        match (request.method(), resource) {
            (&Method::POST, "responses") => self.respond(request, &backend).await,
            (&Method::GET, "models") => reply::json(StatusCode::OK, &models(&backend)),
            _ => reject(NOT_FOUND.0, NOT_FOUND.1),
        }
    }

    /// Answers a call over HTTP and SSE, core's fallback.
    async fn respond(&self, request: Request<Incoming>, backend: &Backend) -> Response<Body> {
        let traceparent = request.headers().get("traceparent");
        let traceparent = traceparent.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = match request.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return reject(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let mut call = match ModelRequest::parse(&body) {
            Ok(request) => ModelCall::new(request),
            Err(error) => return reject(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        call.traceparent = call.traceparent.or(traceparent);
        call.trace = self.in_flight.trace_of(&call);
        let mut events = backend.answer(call);
        // Over HTTP a rejection has a status.
        let first = events.next().await;
        if let Some(event) = &first
            && let Kind::Rejected(status) = event.kind()
        {
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            return reply::json(status.unwrap_or(StatusCode::BAD_GATEWAY), &event.to_value());
        }
        let frames = futures::stream::iter(first).chain(events).map(|event| {
            let mut frame = BytesMut::new();
            sse::write(&mut frame, None, event.name(), event.json().as_bytes());
            frame.freeze()
        });
        reply::stream("text/event-stream", Body::stream(frames, ()))
    }
}

/// Lists the models of the configuration, in OpenAI's form.
///
/// `models`, which is core's own list, stays empty: core would replace its catalogue with it,
/// context windows and tools included, and the configuration knows less.
fn models(backend: &Backend) -> Value {
    let models = backend.models().into_iter();
    let data: Vec<Value> = models.map(|model| json!({ "id": model, "object": "model" })).collect();
    json!({ "object": "list", "data": data, "models": [] })
}

fn reject(status: StatusCode, message: &str) -> Response<Body> {
    reply::json(status, &json!({ "error": { "code": "bridge", "message": message } }))
}

#[cfg(test)]
mod tests {
    use codex_gateway_engine::model_socket::ConnectError;
    use codex_gateway_engine::model_socket::Socket;

    use super::*;
    use crate::bridge::call_log::CallLog;

    async fn call(endpoint: &Endpoint, path: &str, token: &str) -> Result<Socket, ConnectError> {
        let address = endpoint.base_url.trim_start_matches("http://").parse().unwrap();
        let request = Request::get(path).header("authorization", token).body(()).unwrap();
        model_socket::connect(address, request).await
    }

    #[tokio::test]
    async fn only_core_is_answered() {
        let demo = Backend::Demo(CallLog::default());
        let shutdown = Shutdown::default();
        let backends: Backends = Arc::new([("demo".to_owned(), demo)].into());
        let endpoint = start(backends, InFlight::default(), &shutdown).await.unwrap();
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
    fn models_list_leaves_cores_catalogue_alone() {
        let listed = models(&Backend::Demo(CallLog::default()));
        let data = serde_json::json!([{ "id": "demo", "object": "model" }]);
        assert_eq!(listed, serde_json::json!({ "object": "list", "data": data, "models": [] }));
    }
}
