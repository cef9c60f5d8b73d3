//! The second floor: a bare Hyper server, a process of its own, that streams the bytes which the
//! gateway answered with, 64 lines at a time.
//!
//! Started by re-executing the bench with [`ROLE`] and the folder in which the answers lie.

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

use crate::child;
use crate::gateway;
use crate::gateway::Gateway;
use crate::http::Connection;
use crate::http::Http;
use crate::model;
use crate::seen::Seen;
use crate::system::Conversation;
use crate::system::Job;
use crate::system::Site;
use crate::system::System;

/// The argument that makes the bench this server.
pub(crate) const ROLE: &str = "--serve-bytes";

/// How many lines are written at a time: as many as the model writes.
const PORTION: usize = 64;

/// Serves the files of a folder until standard input ends.
///
/// # Errors
/// It cannot listen on loopback.
pub(crate) fn serve(folder: &Path) -> anyhow::Result<()> {
    let mut answers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let bytes = Bytes::from(std::fs::read(entry.path())?);
        let mut portions = Vec::new();
        let mut from = 0;
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for (count, (at, _)) in ends.enumerate() {
            if count % PORTION == PORTION - 1 || at + 1 == bytes.len() {
                portions.push(bytes.slice(from..=at));
                from = at + 1;
            }
        }
        answers.push((format!("/{}", entry.file_name().to_string_lossy()), portions));
    }
    let answers = Arc::new(answers);
    model::until_stdin_ends(|tasks, socket| {
        tasks.spawn(serve_connection(Arc::clone(&answers), socket));
    })
}

type Answers = Arc<Vec<(String, Vec<Bytes>)>>;

async fn serve_connection(answers: Answers, socket: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let found = answers.iter().find(|(path, _)| path == request.uri().path());
        let portions = found.map(|(_, portions)| portions.clone()).unwrap_or_default();
        let frames = portions.into_iter().map(|portion| Ok::<_, Infallible>(Frame::data(portion)));
        let body = StreamBody::new(futures::stream::iter(frames));
        async move {
            // What was asked is read, as the gateway reads it.
            drop(request.into_body().collect().await);
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

pub(crate) struct Bare {
    child: Child,
    http: Http,
}

impl Bare {
    /// Takes down what the gateway answers to the prompts, and starts the server.
    ///
    /// # Errors
    /// The gateway does not answer, or the server does not start.
    pub(crate) async fn start(
        site: &Site,
        gateway: &Gateway,
        prompts: &[String],
    ) -> anyhow::Result<Self> {
        let folder = site.folder("bytes")?;
        for prompt in prompts {
            let body = json!({ "prompt": prompt });
            let answer = gateway.http.call(Method::POST, "/exec", Some(&body)).await?;
            std::fs::write(folder.join(name(prompt)), answer)?;
        }
        let (child, address) = role(ROLE, Some(&folder), site).await?;
        Ok(Self { child, http: Http::new(address.parse()?) })
    }
}

/// Starts this very program in another role. Returns the address that it prints.
///
/// # Errors
/// It does not start.
pub(crate) async fn role(
    role: &str,
    folder: Option<&PathBuf>,
    site: &Site,
) -> anyhow::Result<(Child, String)> {
    let mut child = child::command(&std::env::current_exe()?, &site.folder("user")?)
        .arg(role)
        .args(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let stdout = child.stdout.take().context("stdout")?;
    let address = child::announced(stdout, "", &Shutdown::default()).await?;
    Ok((child, address))
}

fn name(prompt: &str) -> String {
    prompt.chars().filter(char::is_ascii_alphanumeric).collect()
}

impl System for Bare {
    fn open(&self) -> Job<'_, Box<dyn Conversation>> {
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
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen> {
        Box::pin(async move {
            let path = format!("/{}", name(prompt));
            let body = json!({ "prompt": prompt, "session_id": "replay" });
            let turn = gateway::stream(&mut self.0, Method::POST, &path, Some(&body), begun);
            Ok(turn.await?.0)
        })
    }

    fn close(self: Box<Self>) -> Job<'static, ()> {
        self.0.give_back();
        Box::pin(async { Ok(()) })
    }
}
