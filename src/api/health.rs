//! - `GET /health`: JSON, or `OK` for `Accept: text/plain`
//! - `GET /health/live`: the process runs
//! - `GET /health/ready`: it takes requests (503 while draining)

use http::Response;
use http::StatusCode;
use http::header;
use serde_json::json;

use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::web::Body;
use crate::web::RequestContext;
use crate::web::reply;

/// `GET /health`
pub fn health(app: &App, context: &RequestContext) -> Response<Body> {
    let accept = context.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.trim_start().starts_with("text/plain")) {
        return reply::text(StatusCode::OK, "OK");
    }
    let facts = app.facts();
    reply::json(
        StatusCode::OK,
        &json!({
            "status": "healthy",
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": app.started().elapsed().as_secs(),
            "ready": app.is_ready(),
            "mode": if app.config().is_development() { "development" } else { "production" },
            "engine": facts.name,
            "model": facts.model,
            "model_provider": facts.model_provider,
            "model_reason": app.config().model_source.reason(),
            "sandbox": facts.sandbox.mechanism,
            "tools": facts.sandbox.tools,
            "sandbox_detail": facts.sandbox.detail,
            "sandbox_fix": facts.sandbox.fix,
            "load": {
                "conversations": app.conversations().len(),
                "turns": app.conversations().running(),
                "connections": app.shutdown().connections(),
                "streams": app.open_streams(),
                "tasks": app.shutdown().tasks(),
            },
        }),
    )
}

/// `GET /health/live`
pub fn live() -> Response<Body> {
    reply::json(StatusCode::OK, &json!({ "status": "live" }))
}

/// `GET /health/ready`
pub fn ready(app: &App) -> Result<Response<Body>, Error> {
    if app.is_ready() {
        Ok(reply::json(StatusCode::OK, &json!({ "status": "ready" })))
    } else {
        Err(Error::new(Kind::Unavailable, "the gateway is starting or shutting down"))
    }
}
