//! Runs the calls of a message, for both transports.

use futures::future::join_all;
use tracing::Instrument;

use super::call_context::CallContext;
use super::message::Message;
use super::message::ParsedCall;
use super::message::Response;
use super::message::error_response;
use super::method::Method;
use super::reply::Reply;
use super::reply::Task;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::names;
use crate::telemetry::rpc::RpcCall;

/// The outcome of a message.
pub(super) struct Outcome {
    /// The encoded response. `None` if every call was a notification.
    pub(super) response: Option<String>,
    /// Tasks for the socket, once the response is sent.
    pub(super) follow_ups: Vec<Task>,
}

impl Outcome {
    fn response(response: String) -> Self {
        Self { response: Some(response), follow_ups: Vec::new() }
    }
}

/// Runs the calls of a message, those of a batch concurrently.
pub(super) async fn answer(context: &CallContext, message: Message<'_>) -> Outcome {
    match message {
        Message::Call(call) => call_one(context, call).await,
        Message::Batch(calls) => {
            if let Err(error) = check_starts(context, &calls) {
                let request_id = &context.request().request_id;
                let response = refuse(Message::Batch(calls), &error, request_id);
                return Outcome { response, follow_ups: Vec::new() };
            }
            let outcomes = join_all(calls.into_iter().map(|call| call_one(context, call))).await;
            let mut responses = Vec::new();
            let mut follow_ups = Vec::new();
            for outcome in outcomes {
                responses.extend(outcome.response);
                follow_ups.extend(outcome.follow_ups);
            }
            Outcome { response: batch(&responses), follow_ups }
        }
        Message::Invalid(error) => {
            Outcome::response(error_response(error, &context.request().request_id))
        }
    }
}

/// Checks how many calls of a batch start a conversation or a turn: they would all run at once.
///
/// # Errors
/// `Overloaded`.
fn check_starts(context: &CallContext, calls: &[ParsedCall<'_>]) -> Result<(), Error> {
    let starts = |call: &&ParsedCall<'_>| {
        let method = call.as_ref().ok().and_then(|call| Method::parse(&call.method).ok());
        method.is_some_and(Method::starts_work)
    };
    let (count, most) =
        (calls.iter().filter(starts).count(), context.app().config().max_batch_starts);
    if count <= most {
        return Ok(());
    }
    Err(Error::new(
        Kind::Overloaded,
        format!(
            "expected a batch with at most {most} calls that start a conversation or a turn \
             (gateway.max_batch_starts), got {count}; send several batches"
        ),
    ))
}

/// Refuses every call of a message with the same error. Returns the encoded response, if any.
pub(super) fn refuse(message: Message<'_>, error: &Error, request_id: &str) -> Option<String> {
    let refuse_one = |call: ParsedCall<'_>| {
        let response = match call {
            Ok(call) => Response::new(call.id?, Err(error.clone())),
            Err(response) => response,
        };
        Some(response.encode(request_id))
    };
    match message {
        Message::Call(call) => refuse_one(call),
        Message::Batch(calls) => {
            batch(&calls.into_iter().filter_map(refuse_one).collect::<Vec<_>>())
        }
        Message::Invalid(error) => Some(error_response(error, request_id)),
    }
}

/// Encodes a batch of responses. A batch of notifications has no response.
fn batch(responses: &[String]) -> Option<String> {
    (!responses.is_empty()).then(|| format!("[{}]", responses.join(",")))
}

async fn call_one(context: &CallContext, call: ParsedCall<'_>) -> Outcome {
    let request_id = &context.request().request_id;
    let call = match call {
        Ok(call) => call,
        Err(response) => return Outcome::response(response.encode(request_id)),
    };
    let method = Method::parse(&call.method);
    let name = method.as_ref().map_or(names::OTHER, |method| method.spec().name);
    let opened_by = context.socket().map(|_| &context.request().headers);
    let traced = RpcCall::begin(name, call.params, request_id, opened_by);
    let reply = match method {
        Ok(method) => {
            let context = context.for_call(call.id.as_ref());
            let run = method.run(&context, call.params).instrument(traced.span().clone());
            Box::pin(run).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &reply {
        traced.fail(error);
    }
    drop(traced);
    let (result, follow_up) = match reply {
        Ok(Reply { result, follow_up }) => (Ok(result), follow_up),
        Err(error) => (Err(error), None),
    };
    Outcome {
        response: call.id.map(|id| Response::new(id, result).encode(request_id)),
        follow_ups: follow_up.into_iter().collect(),
    }
}
