//! JSON-RPC 2.0 over `POST /jsonrpc`: single calls, batches, notifications.
//!
//! The methods call the same functions as the REST endpoints. HTTP's status is 200 for anything
//! that could be parsed, 202 where there is nothing to answer.

mod conversation;
mod message;

use std::sync::Arc;

use futures::future::join_all;
use http::Response;
use http::StatusCode;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::value::RawValue;

use self::message::Answer;
use self::message::Call;
use crate::api::json;
use crate::error::Error;
use crate::error::Kind;
use crate::gateway::Body;
use crate::gateway::Context;
use crate::gateway::Gateway;
use crate::gateway::reply;

/// More calls than this in one batch are refused: they all run at once.
const MAX_BATCH: usize = 100;

/// The methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `conversation.prompt`
    Prompt,
    /// `conversation.status`
    Status,
    /// `conversation.cancel`
    Cancel,
}

impl Method {
    /// Every method and its name.
    pub const TABLE: [(&'static str, Self); 3] = [
        ("conversation.prompt", Self::Prompt),
        ("conversation.status", Self::Status),
        ("conversation.cancel", Self::Cancel),
    ];

    fn parse(name: &str) -> Result<Self, Error> {
        let found = Self::TABLE.iter().find(|(known, _)| *known == name);
        found.map(|(_, method)| *method).ok_or_else(|| {
            let known: Vec<&str> = Self::TABLE.iter().map(|(known, _)| *known).collect();
            Error::new(
                Kind::UnknownMethod,
                format!(
                    "method: expected one of {}, got {}",
                    known.join(", "),
                    crate::conversation::id::excerpt(name)
                ),
            )
        })
    }

    async fn run(
        self,
        gateway: &Arc<Gateway>,
        context: &Context,
        params: Option<&RawValue>,
    ) -> Result<Value, Error> {
        match self {
            Self::Prompt => conversation::prompt(gateway, context, params).await,
            Self::Status => conversation::status(gateway, params),
            Self::Cancel => conversation::cancel(gateway, params).await,
        }
    }
}

/// `POST /jsonrpc`
pub async fn http(
    gateway: &Arc<Gateway>,
    context: &Context,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let bytes = json::read(&context.headers, body, &gateway.config().server).await?;
    Ok(match answer(gateway, context, &bytes).await {
        Some(answer) => reply::json(StatusCode::OK, &answer),
        None => reply::empty(StatusCode::ACCEPTED),
    })
}

/// Answers a message: a call or a batch. `None` where there is nothing to answer.
async fn answer(gateway: &Arc<Gateway>, context: &Context, bytes: &[u8]) -> Option<Value> {
    let refuse = |error: Error| Some(Answer::refusal(&error, &context.request_id));
    let message: &RawValue = match serde_json::from_slice(bytes) {
        Ok(message) => message,
        Err(error) => return refuse(json::explain(&error, bytes.is_empty())),
    };
    if !message.get().starts_with('[') {
        return one(gateway, context, message).await;
    }
    let batch: Vec<&RawValue> = match serde_json::from_str(message.get()) {
        Ok(batch) => batch,
        Err(error) => return refuse(json::explain(&error, false)),
    };
    match batch.len() {
        0 => refuse(Error::new(Kind::InvalidMessage, "expected a batch of at least one call")),
        1..=MAX_BATCH => {
            let answers = join_all(batch.into_iter().map(|call| one(gateway, context, call))).await;
            let answers: Vec<Value> = answers.into_iter().flatten().collect();
            (!answers.is_empty()).then(|| answers.into())
        }
        _ => refuse(Error::new(
            Kind::InvalidMessage,
            format!("expected a batch of at most {MAX_BATCH} calls"),
        )),
    }
}

/// Runs one call. `None` for a notification.
async fn one(gateway: &Arc<Gateway>, context: &Context, message: &RawValue) -> Option<Value> {
    let call = match Call::parse(message) {
        Ok(call) => call,
        Err(refusal) => return Some(refusal.into_value(&context.request_id)),
    };
    let result = match Method::parse(&call.method) {
        Ok(method) => Box::pin(method.run(gateway, context, call.params)).await,
        Err(error) => Err(error),
    };
    Some(Answer::new(call.id?, result).into_value(&context.request_id))
}
