//! The second baseline: a bare Hyper server in its own process that streams recorded responses of
//! the gateway, 64 lines at a time.
//!
//! Started by re-executing this program with [`ROLE`] and the folder of the responses.

use std::convert::Infallible;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use codex_gateway::shutdown::Shutdown;
use http::Method;
use http::Request;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::Instant;

use crate::gateway;
use crate::gateway::Gateway;
use crate::http::Connection;
use crate::http::Http;
use crate::model;
use crate::process;
use crate::system::Conversation;
use crate::system::Setup;
use crate::system::System;
use crate::system::TryBoxFuture;
use crate::timing::TurnTiming;

/// The argument that turns this program into the server.
pub(crate) const ROLE: &str = "--serve-bytes";

/// Lines per write; the model writes as many deltas at a time.
const CHUNK: usize = 64;

/// Serves the files of a folder until stdin ends.
///
/// # Errors
/// If it cannot listen on loopback.
pub(crate) fn serve(folder: &Path) -> anyhow::Result<()> {
    let mut responses = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let bytes = Bytes::from(std::fs::read(entry.path())?);
        let mut chunks = Vec::new();
        let mut from = 0;
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for (count, (at, _)) in ends.enumerate() {
            if count % CHUNK == CHUNK - 1 || at + 1 == bytes.len() {
                chunks.push(bytes.slice(from..=at));
                from = at + 1;
            }
        }
        responses.push((format!("/{}", entry.file_name().to_string_lossy()), chunks));
    }
    let responses = Arc::new(responses);
    model::until_stdin_ends(|tasks, socket| {
        tasks.spawn(serve_connection(Arc::clone(&responses), socket));
    })
}

type Responses = Arc<Vec<(String, Vec<Bytes>)>>;

async fn serve_connection(responses: Responses, socket: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let found = responses.iter().find(|(path, _)| path == request.uri().path());
        let chunks = found.map(|(_, chunks)| chunks.clone()).unwrap_or_default();
        let frames = chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
        let body = StreamBody::new(futures::stream::iter(frames));
        async move {
            // Reads the request body, as the gateway does.
            drop(request.into_body().collect().await);
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

pub(crate) struct BareHyper {
    child: Child,
    http: Http,
}

impl BareHyper {
    /// Records the gateway's responses to the prompts and starts the server.
    ///
    /// # Errors
    /// If the gateway fails or the server does not start.
    pub(crate) async fn start(
        setup: &Setup,
        gateway: &Gateway,
        prompts: &[String],
    ) -> anyhow::Result<Self> {
        let folder = setup.folder("bytes")?;
        for prompt in prompts {
            let body = json!({ "prompt": prompt });
            let response = gateway.http.call(Method::POST, "/exec", Some(&body)).await?;
            std::fs::write(folder.join(file_name(prompt)), response)?;
        }
        let (child, address) = role(ROLE, Some(&folder), setup).await?;
        Ok(Self { child, http: Http::new(address.parse()?) })
    }
}

/// Starts this program in another role. Returns the address that it prints.
///
/// # Errors
/// If it does not start.
pub(crate) async fn role(
    role: &str,
    folder: Option<&PathBuf>,
    setup: &Setup,
) -> anyhow::Result<(Child, String)> {
    let mut child = process::command(&std::env::current_exe()?, &setup.folder("user")?)
        .arg(role)
        .args(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let stdout = child.stdout.take().context("stdout")?;
    let address = process::wait_for_line(stdout, "", &Shutdown::default()).await?;
    Ok((child, address))
}

fn file_name(prompt: &str) -> String {
    prompt.chars().filter(char::is_ascii_alphanumeric).collect()
}

impl System for BareHyper {
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let opened: Box<dyn Conversation> = Box::new(Replay(self.http.connection().await?));
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.child.id().into_iter().collect()
    }
}

struct Replay(Connection);

impl Conversation for Replay {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming> {
        Box::pin(async move {
            let path = format!("/{}", file_name(prompt));
            let body = json!({ "prompt": prompt, "session_id": "replay" });
            let turn = gateway::stream(&mut self.0, Method::POST, &path, Some(&body), begun);
            Ok(turn.await?.0)
        })
    }

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()> {
        self.0.release();
        Box::pin(async { Ok(()) })
    }
}
