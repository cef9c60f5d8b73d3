//! The demo model: a scripted model that speaks the Responses API, so that a machine with no key
//! and no network runs real turns through the real codex-core, tools and sandbox included.
//!
//! - this file: the loopback server;
//! - [`request`]: what core sends, as far as the script needs it;
//! - [`script`]: what the model says to it;
//! - [`response`]: how it says it, event by event.

#![expect(clippy::indexing_slicing, reason = "serde_json answers null for what is not there")]

mod request;
mod response;
mod script;

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

use super::Endpoint;
use crate::gateway::Body;
use crate::server::Shutdown;

/// The slug of the model.
pub const MODEL: &str = "demo";

/// Starts the model's server on a free loopback port.
///
/// # Errors
/// There is no loopback to listen on.
pub async fn start(shutdown: &Shutdown) -> std::io::Result<Endpoint> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = Endpoint {
        base_url: format!("http://{}/v1", listener.local_addr()?),
        bearer_token: uuid::Uuid::new_v4().simple().to_string(),
    };
    let token: Arc<str> = format!("Bearer {}", endpoint.bearer_token).into();
    let shutdown_ = shutdown.clone();
    // Until the end of the process, not of the drain: turns in flight still speak to their model.
    shutdown.spawn(async move {
        loop {
            let socket = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        tracing::warn!(%error, "the demo model cannot accept a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = shutdown_.force.cancelled() => return,
            };
            let (token, force) = (Arc::clone(&token), shutdown_.force.clone());
            shutdown_.spawn(async move {
                tokio::select! {
                    () = serve(socket, token) => {}
                    () = force.cancelled() => {}
                }
            });
        }
    });
    Ok(endpoint)
}

async fn serve(socket: TcpStream, token: Arc<str>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let token = Arc::clone(&token);
        async move { Ok::<_, Infallible>(answer(request, &token).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the demo model ended");
    }
}

async fn answer(request: Request<Incoming>, token: &str) -> Response<Body> {
    let sent =
        request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    if !bool::from(sent.ct_eq(token.as_bytes())) {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "this model belongs to the gateway's own codex-core",
        );
    }
    if request.method() != Method::POST || !request.uri().path().ends_with("/responses") {
        return refuse(StatusCode::NOT_FOUND, "expected POST /v1/responses");
    }
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let parsed = match request::Request::parse(&body) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let reply = script::reply(&parsed);
    let events = response::events(reply, body.len()).map(|event| {
        Bytes::from(format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        ))
    });
    let mut response = Response::new(Body::stream(events, ()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
    response
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let document = serde_json::json!({ "error": { "type": "demo_model", "message": message } });
    crate::gateway::reply::json(status, &document)
}
