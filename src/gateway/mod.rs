//! The hyper service: one request in, one response out.
//!
//! [`call`] makes the request id, parses the [`Route`], admits the caller, dispatches, and is the
//! one place where an [`Error`] becomes a response.

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::Response;
use hyper::body::Incoming;
use tracing::Instrument;

use crate::access;
use crate::access::Access;
use crate::access::Caller;
use crate::api;
use crate::api::conversations;
use crate::api::route::Route;
use crate::app::App;
use crate::error::Error;
use crate::rpc;
use crate::telemetry::http::RequestSpan;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::reply;

/// Answers a request.
pub async fn call(app: &Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let request_id = request_id(request.headers());
    let path = request.uri().path().to_owned();
    let route = Route::parse(request.method(), &path);
    let name = route.as_ref().ok().map(Route::name);
    let mut request_span = RequestSpan::begin(&request, name, &request_id);
    let span = request_span.span().clone();
    async {
        let response = match dispatch(app, route, request, &request_id).await {
            Ok(response) => response,
            Err(error) => {
                request_span.fail(&error);
                if error.status().is_server_error() {
                    tracing::error!(%error, code = error.code(), "request failed");
                } else {
                    tracing::debug!(%error, code = error.code(), "request refused");
                }
                reply::problem(&error, &request_id, &path)
            }
        };
        tracing::debug!(status = response.status().as_u16(), "answered");
        request_span.answer(response.status());
        let mut response = response.map(|body| body.owning(request_span));
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert("x-request-id", value);
        }
        response
    }
    .instrument(span)
    .await
}

async fn dispatch(
    app: &Arc<App>,
    route: Result<Route, Error>,
    request: Request<Incoming>,
    request_id: &str,
) -> Result<Response<Body>, Error> {
    let route = route?;
    let access = match route {
        Route::Metrics if app.config().telemetry.metrics_open => Access::Open,
        _ => route.access(),
    };
    let caller = access::admit(&app.config().keys, access, request.headers())?;
    if let Some(Caller { name }) = &caller {
        RequestSpan::called_by(name);
    }
    let (mut head, body) = request.into_parts();
    let context = RequestContext {
        request_id: request_id.to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: std::mem::take(&mut head.headers),
        caller,
    };
    match route {
        Route::Health => Ok(api::health::health(app, &context)),
        Route::Live => Ok(api::health::live()),
        Route::Ready => api::health::ready(app),
        Route::OpenApi => Ok(api::openapi::show()),
        Route::Metrics => api::metrics::show(),
        Route::Exec => api::exec::events(app, &context, None, body).await,
        Route::ExecTask => api::exec::task(app, &context, body).await,
        Route::ExecStream => api::exec::task_stream(app, &context, body).await,
        Route::Conversation(id) => conversations::show(app, &id),
        Route::Conversations => conversations::list(app, &context),
        Route::ConversationStart => conversations::start(app, &context, body).await,
        Route::ConversationArchive(id) => conversations::archive(app, &id).await,
        Route::ConversationAct(id, action) => {
            conversations::act::act(app, &context, &id, action, body).await
        }
        Route::ConversationEvents(id) => conversations::events::events(app, &context, &id).await,
        Route::ConversationHistory(id) => conversations::look::history(app, &id).await,
        Route::ConversationDiff(id) => conversations::look::diff(app, &id),
        Route::Approvals(id) => conversations::look::approvals(app, &id),
        Route::Approve(id, approval) => {
            conversations::look::approve(app, &context, &id, &approval, body).await
        }
        Route::JsonRpc => rpc::http::post(app, context, body).await,
        Route::Socket => {
            head.headers.clone_from(&context.headers);
            rpc::ws::open(app, context, Request::from_parts(head, ()))
        }
    }
}

/// The client's `X-Request-Id` where it is sane, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|value| (1..=128).contains(&value.len()))
        .filter(|value| {
            value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
        })
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}
