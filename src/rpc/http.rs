//! `POST /jsonrpc`. The status is 200 for a message with a response, even if that is an error, and
//! 202 for one without.

use std::sync::Arc;

use http::Response;
use http::StatusCode;
use hyper::body::Incoming;

use super::call_context::CallContext;
use super::dispatch;
use super::message::Message;
use crate::app::App;
use crate::error::Error;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::json;
use crate::web::reply;

/// `POST /jsonrpc`
///
/// # Errors
/// The errors of [`json::read`]. All others are responses of JSON-RPC.
pub(crate) async fn post(
    app: &Arc<App>,
    request: RequestContext,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let bytes = json::read(&request.headers, body, &app.config().server).await?;
    let context = CallContext::new(Arc::clone(app), Arc::new(request), None);
    let outcome = dispatch::answer(&context, Message::parse(&bytes)).await;
    Ok(match outcome.response {
        Some(response) => reply::encoded_json(StatusCode::OK, response),
        None => reply::empty(StatusCode::ACCEPTED),
    })
}
