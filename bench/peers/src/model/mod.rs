//! The scripted model in its own process, the same for every system: the Responses API over SSE and
//! WebSocket, and Chat Completions over SSE. One thread, no artificial delays.
//!
//! Started by re-executing this program with [`ROLE`]; ends when its stdin ends.

mod encoder;
mod request;
mod script;

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use codex_gateway::shutdown::Shutdown;
use futures::SinkExt;
use futures::StreamExt;
use http::Request;
use http::Response;
use http::StatusCode;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_tungstenite::HyperWebsocket;
use hyper_tungstenite::tungstenite::Message;
use hyper_tungstenite::tungstenite::protocol::WebSocketConfig;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use self::encoder::Wire;
use self::request::ModelRequest;
use self::script::Script;

/// The argument that turns this program into the server.
pub(crate) const ROLE: &str = "--serve-model";

/// Large, because a request contains the whole conversation.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Prints the address and serves until stdin ends.
///
/// # Errors
/// If it cannot listen on loopback.
pub(crate) fn serve() -> anyhow::Result<()> {
    until_stdin_ends(|tasks, socket| tasks.clone().spawn(serve_connection(tasks.clone(), socket)))
}

/// Listens on a loopback port, prints the address, and passes connections to `on_connection` until
/// stdin ends.
///
/// # Errors
/// If it cannot listen on loopback.
pub(crate) fn until_stdin_ends(on_connection: impl Fn(&Shutdown, TcpStream)) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        let tasks = Shutdown::default();
        let mut parent = tokio::io::stdin();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = parent.read_u8() => return Ok(()),
            };
            let (socket, _) = accepted?;
            socket.set_nodelay(true)?;
            on_connection(&tasks, socket);
        }
    })
}

async fn serve_connection(tasks: Shutdown, socket: TcpStream) {
    let service = service_fn(move |request| answer(tasks.clone(), request));
    // A client that disconnects early is not an error.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades()
        .await;
}

async fn answer(
    tasks: Shutdown,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, anyhow::Error> {
    if hyper_tungstenite::is_upgrade_request(&request) {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (response, upgraded) = hyper_tungstenite::upgrade(&mut request, Some(limits))?;
        tasks.spawn(async move { drop(serve_socket(upgraded).await) });
        return Ok(response.map(|body| body.boxed_unsync()));
    }
    let wire = match request.uri().path() {
        "/v1/responses" => Wire::Responses,
        "/v1/chat/completions" => Wire::Chat,
        _ => return json(StatusCode::OK, r#"{"models":[],"data":[],"object":"list"}"#),
    };
    let body = request.into_body().collect().await?.to_bytes();
    let script = match ModelRequest::read(&body).and_then(|request| Script::of(&request)) {
        Ok(script) => script,
        Err(error) => {
            eprintln!("the scripted model cannot answer a request: {error:#}");
            return json(StatusCode::BAD_REQUEST, "{}");
        }
    };
    let frames = script::chunks(wire, script).map(move |chunk| {
        let text: String = chunk.iter().map(|event| wire.framed(event)).collect();
        Ok(Frame::data(Bytes::from(text)))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    Ok(Response::builder().header("content-type", "text/event-stream").body(body)?)
}

fn json(status: StatusCode, text: &'static str) -> anyhow::Result<Response<Body>> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync();
    Ok(Response::builder().status(status).header("content-type", "application/json").body(body)?)
}

/// Serves Responses over WebSocket: a message per request and per event. A warm-up request gets no
/// text.
async fn serve_socket(upgraded: HyperWebsocket) -> anyhow::Result<()> {
    let mut socket = upgraded.await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let request = ModelRequest::read(text.as_bytes())?;
        let script = if request.generate { Script::of(&request)? } else { Script::Empty };
        let mut chunks = std::pin::pin!(script::chunks(Wire::Responses, script));
        while let Some(chunk) = chunks.next().await {
            for event in chunk {
                socket.feed(Message::text(event.json)).await?;
            }
            socket.flush().await?;
        }
    }
    Ok(())
}
