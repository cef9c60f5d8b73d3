//! JSON-RPC 2.0 over `POST /jsonrpc`: single calls, batches, notifications.
//!
//! The same calls come over a [`ws`]. The methods call the same functions as the REST
//! endpoints. HTTP's status is 200 for anything that could be parsed, 202 where there is nothing to
//! answer.
//!
//! - [`message`]: the messages of the specification; [`method`]: the table of methods;
//! - [`peer`]: who made a call, and over what;
//! - a file per noun: `conversation` and `manage`, `subscription`, `exec`, `apply`, `mcp`, `auth`,
//!   `interactive`, `proxy`, `proto`; `discover`: the table as a document.

mod apply;
mod auth;
mod conversation;
mod discover;
mod exec;
mod interactive;
mod manage;
mod mcp;
mod message;
pub mod method;
mod peer;
mod proto;
mod proxy;
mod subscriber;
mod subscription;
pub(crate) mod ws;

use futures::future::join_all;
use http::Response;
use http::StatusCode;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::value::RawValue;
use tracing::Instrument;

use self::message::Answer;
use self::message::Call;
pub use self::method::Method;
pub(crate) use self::peer::Peer;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::names;
use crate::telemetry::rpc::RpcCall;
use crate::web::Body;
use crate::web::json;
use crate::web::reply;

/// More calls than this in one batch are refused: they all run at once.
const MAX_BATCH: usize = 100;

/// `POST /jsonrpc`
pub(crate) async fn http(peer: &Peer, body: Incoming) -> Result<Response<Body>, Error> {
    let limits = &peer.app().config().server;
    let bytes = json::read(&peer.context().headers, body, limits).await?;
    Ok(match answer(peer, &bytes).await {
        Some(answer) => reply::json(StatusCode::OK, &answer),
        None => reply::empty(StatusCode::ACCEPTED),
    })
}

/// Answers a message: a call or a batch. `None` where there is nothing to answer.
pub(crate) async fn answer(peer: &Peer, bytes: &[u8]) -> Option<Value> {
    let request_id = &peer.context().request_id;
    match parse(bytes) {
        Ok(Message::Call(call)) => one(peer, call).await,
        Ok(Message::Batch(batch)) => {
            let answers = join_all(batch.into_iter().map(|call| one(peer, call))).await;
            let answers: Vec<Value> = answers.into_iter().flatten().collect();
            (!answers.is_empty()).then(|| answers.into())
        }
        Err(error) => Some(Answer::refusal(&error, request_id)),
    }
}

/// Refuses every call of a message with the same error.
pub(crate) fn refuse(text: &str, error: &Error, request_id: &str) -> Option<Value> {
    let one = |call| match Call::parse(call) {
        Ok(call) => Some(Answer::new(call.id?, Err(error.clone())).into_value(request_id)),
        Err(refusal) => Some(refusal.into_value(request_id)),
    };
    match parse(text.as_bytes()) {
        Ok(Message::Call(call)) => one(call),
        Ok(Message::Batch(batch)) => {
            let answers: Vec<Value> = batch.into_iter().filter_map(one).collect();
            (!answers.is_empty()).then(|| answers.into())
        }
        Err(error) => Some(Answer::refusal(&error, request_id)),
    }
}

/// How many calls a message holds; what is none counts as one.
pub(crate) fn count(text: &str) -> u32 {
    if !text.trim_start().starts_with('[') {
        return 1;
    }
    match parse(text.as_bytes()) {
        Ok(Message::Batch(batch)) => u32::try_from(batch.len()).unwrap_or(u32::MAX),
        Ok(Message::Call(_)) | Err(_) => 1,
    }
}

enum Message<'a> {
    Call(&'a RawValue),
    Batch(Vec<&'a RawValue>),
}

fn parse(bytes: &[u8]) -> Result<Message<'_>, Error> {
    let explain = |error: serde_json::Error| json::explain(&error, bytes.is_empty());
    let message: &RawValue = serde_json::from_slice(bytes).map_err(explain)?;
    if !message.get().starts_with('[') {
        return Ok(Message::Call(message));
    }
    let batch: Vec<&RawValue> = serde_json::from_str(message.get()).map_err(explain)?;
    match batch.len() {
        0 => Err(Error::new(Kind::InvalidMessage, "expected a batch of at least one call")),
        1..=MAX_BATCH => Ok(Message::Batch(batch)),
        _ => Err(Error::new(
            Kind::InvalidMessage,
            format!("expected a batch of at most {MAX_BATCH} calls"),
        )),
    }
}

/// Runs one call. `None` for a notification.
async fn one(peer: &Peer, message: &RawValue) -> Option<Value> {
    let request_id = &peer.context().request_id;
    let call = match Call::parse(message) {
        Ok(call) => call,
        Err(refusal) => return Some(refusal.into_value(request_id)),
    };
    let method = Method::parse(&call.method);
    let name = method.as_ref().map_or(names::OTHER, |method| method.spec().name);
    let opened_by = peer.socket().map(|_| &peer.context().headers);
    let traced = RpcCall::begin(name, call.params, request_id, opened_by);
    let result = match method {
        Ok(method) => {
            let peer = peer.of_call(call.id.as_ref());
            let run = method.run(&peer, call.params).instrument(traced.span().clone());
            Box::pin(run).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &result {
        traced.fail(error);
    }
    drop(traced);
    Some(Answer::new(call.id?, result).into_value(request_id))
}
