//! The scripted model, a process of its own, the same for whoever calls it: the Responses API over SSE
//! and over WebSocket, and Chat Completions over SSE. One thread, no delays of its own.
//!
//! Started by re-executing the bench with [`ROLE`]; it ends when its standard input does.

#[path = "model/ask.rs"]
mod ask;
#[path = "model/reply.rs"]
mod reply;
#[path = "model/wire.rs"]
mod wire;

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

use self::ask::Ask;
use self::reply::Reply;
use self::wire::Wire;

/// The argument that makes the bench this server.
pub(crate) const ROLE: &str = "--serve-model";

/// A request holds the whole conversation.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until standard input ends. Prints the address first.
///
/// # Errors
/// It cannot listen on loopback.
pub(crate) fn serve() -> anyhow::Result<()> {
    until_stdin_ends(|tasks, socket| tasks.clone().spawn(serve_connection(tasks.clone(), socket)))
}

/// Listens on a port of loopback, prints the address, and hands out connections until standard input
/// ends.
///
/// # Errors
/// It cannot listen on loopback.
pub(crate) fn until_stdin_ends(each: impl Fn(&Shutdown, TcpStream)) -> anyhow::Result<()> {
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
            each(&tasks, socket);
        }
    })
}

async fn serve_connection(tasks: Shutdown, socket: TcpStream) {
    let service = service_fn(move |request| answer(tasks.clone(), request));
    // Whoever leaves in the middle is of no interest here.
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
    let reply = match Ask::read(&body).and_then(|ask| Reply::to(&ask)) {
        Ok(reply) => reply,
        Err(error) => {
            eprintln!("the scripted model does not understand a request: {error:#}");
            return json(StatusCode::BAD_REQUEST, "{}");
        }
    };
    let frames = reply::bursts(wire, reply).map(move |burst| {
        let text: String = burst.iter().map(|event| wire.framed(event)).collect();
        Ok(Frame::data(Bytes::from(text)))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    Ok(Response::builder().header("content-type", "text/event-stream").body(body)?)
}

fn json(status: StatusCode, text: &'static str) -> anyhow::Result<Response<Body>> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync();
    Ok(Response::builder().status(status).header("content-type", "application/json").body(body)?)
}

/// Responses over WebSocket: a request a frame, an event a frame. A warm-up asks for nothing.
async fn serve_socket(upgraded: HyperWebsocket) -> anyhow::Result<()> {
    let mut socket = upgraded.await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let ask = Ask::read(text.as_bytes())?;
        let reply = if ask.generate { Reply::to(&ask)? } else { Reply::Nothing };
        let mut bursts = std::pin::pin!(reply::bursts(Wire::Responses, reply));
        while let Some(burst) = bursts.next().await {
            for event in burst {
                socket.feed(Message::text(event.json)).await?;
            }
            socket.flush().await?;
        }
    }
    Ok(())
}
