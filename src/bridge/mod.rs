//! The model bridge: between codex-core and every model.
//!
//! Core speaks one dialect, the Responses API, and treats HTTP as cheap: over HTTP it builds a new
//! client and a new connection for every call. So core's provider is a private listener of this
//! process that speaks what core prefers, one WebSocket per conversation, and behind it are warm,
//! pooled connections to the real providers, whatever they speak.
//!
//! Core asks `…/models` of its default provider only where a ChatGPT login lies in its home, to bring
//! its catalogue of models up to date.
//!
//! - this file: the listener, its token, its routes;
//! - [`socket`]: Responses over WebSocket, with core's incremental input made whole;
//! - [`ask`]: one model call as core asked for it;
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
pub mod route;
mod socket;
pub mod sse;
pub mod upstream;
pub mod wire;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
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
use crate::gateway::Body;
use crate::gateway::reply;
use crate::server::Shutdown;

/// Where core finds its model.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Core opens `{base_url}/{provider}/v1/responses`.
    pub base_url: String,
    /// Made for this process; nothing else gets in.
    pub bearer_token: String,
}

/// What a connection of core's needs.
#[derive(Debug, Clone)]
struct Door {
    authorization: Arc<str>,
    backends: Backends,
    calls: Calls,
    shutdown: Shutdown,
}

/// Starts the listener on a free loopback port.
///
/// # Errors
/// There is no loopback to listen on.
pub async fn start(
    backends: Backends,
    calls: Calls,
    shutdown: &Shutdown,
) -> std::io::Result<Endpoint> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = Endpoint {
        base_url: format!("http://{}", listener.local_addr()?),
        bearer_token: uuid::Uuid::new_v4().simple().to_string(),
    };
    let door = Door {
        authorization: format!("Bearer {}", endpoint.bearer_token).into(),
        backends,
        calls,
        shutdown: shutdown.clone(),
    };
    shutdown.spawn(accept(listener, door));
    Ok(endpoint)
}

/// Accepts until the end of the process, not of the drain: turns in flight still need their model.
async fn accept(listener: TcpListener, door: Door) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.shutdown.force.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                let door_ = door.clone();
                door.shutdown.spawn(async move {
                    let force = door_.shutdown.force.clone();
                    tokio::select! {
                        () = serve(socket, door_) => {}
                        () = force.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the bridge cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
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
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of core's ended");
    }
}

async fn answer(mut request: Request<Incoming>, door: Door) -> Response<Body> {
    let sent = request.headers().get(header::AUTHORIZATION);
    let sent = sent.map_or(&b""[..], |value| value.as_bytes());
    if !bool::from(sent.ct_eq(door.authorization.as_bytes())) {
        return refuse(StatusCode::UNAUTHORIZED, "this listener belongs to the gateway's own core");
    }
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (backend, resource) = match segments.as_slice() {
        [provider, "v1", resource] => (door.backends.get(*provider).cloned(), *resource),
        _ => (None, ""),
    };
    let Some(backend) = backend else {
        return refuse(StatusCode::NOT_FOUND, "expected /{provider}/v1/responses or …/models");
    };
    match (request.method(), resource) {
        (&Method::GET, "responses") if hyper_tungstenite::is_upgrade_request(&request) => {
            match hyper_tungstenite::upgrade(&mut request, Some(socket::config())) {
                Ok((response, upgraded)) => {
                    let shutdown = door.shutdown.clone();
                    shutdown.spawn(async move {
                        tokio::select! {
                            () = socket::serve(upgraded, backend, door.calls) => {}
                            () = door.shutdown.force.cancelled() => {}
                        }
                    });
                    response.map(|_| Body::whole(""))
                }
                Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
            }
        }
        (&Method::POST, "responses") => over_http(request, &backend, &door.calls).await,
        (&Method::GET, "models") => reply::json(StatusCode::OK, &models(&backend)),
        _ => refuse(StatusCode::NOT_FOUND, "expected /{provider}/v1/responses or …/models"),
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
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let mut ask = match serde_json::from_slice(&body) {
        Ok(body) => Ask::new(body),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
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

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let document = serde_json::json!({ "error": { "code": "bridge", "message": message } });
    reply::json(status, &document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_as_openai_does_and_core_keeps_its_catalogue() {
        let listed = models(&Backend::Demo(record::Records::default()));
        let data = serde_json::json!([{ "id": "demo", "object": "model" }]);
        assert_eq!(listed, serde_json::json!({ "object": "list", "data": data, "models": [] }));
    }
}
