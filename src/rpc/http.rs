//! `POST /jsonrpc`. The status is 200 for a message with a response, even if that is an error, and
//! 202 for one without.

use std::sync::Arc;

use http::Response;
use http::StatusCode;

use super::call_context::CallContext;
use super::dispatch;
use super::message::Message;
use super::schema;
use crate::app::App;
use crate::error::Error;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::describe::Operation;
use crate::web::extract::CancelOnDisconnect;
use crate::web::extract::RawJson;
use crate::web::reply;
use crate::web::respond::Respond;

/// `POST /jsonrpc`. Errors of calls are responses of JSON-RPC.
pub(crate) async fn post(
    app: &Arc<App>,
    request: &Arc<RequestContext>,
    (_, body): (CancelOnDisconnect, RawJson<schema::Message>),
) -> Result<Posted, Error> {
    let context = CallContext::new(Arc::clone(app), Arc::clone(request), None);
    let outcome = dispatch::answer(&context, Message::parse(&body.bytes)).await;
    Ok(Posted(outcome.response))
}

/// The encoded response to a message, if it has one.
#[derive(Debug)]
pub(crate) struct Posted(Option<String>);

impl Respond for Posted {
    fn describe(operation: &mut Operation<'_>) {
        operation.gives::<schema::Answer>(StatusCode::OK);
        operation.responds(StatusCode::ACCEPTED, "Notifications only: no response.", &[]);
    }

    fn into_response(self) -> Response<Body> {
        match self.0 {
            Some(response) => reply::encoded_json(StatusCode::OK, response),
            None => reply::empty(StatusCode::ACCEPTED),
        }
    }
}
