//! - `GET /health`: version, model, sandbox and load; `OK` for `Accept: text/plain`
//! - `GET /health/live`: the process is alive
//! - `GET /health/ready`: the gateway accepts requests (503 while it shuts down, or cannot write)

use std::sync::Arc;

use codex_gateway_engine::children::Report;
use codex_gateway_engine::sandbox::Mechanism;
use codex_gateway_engine::sandbox::Tools;
use http::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::web::Body;
use crate::web::Json;
use crate::web::RequestContext;
use crate::web::accept;
use crate::web::describe::Operation;
use crate::web::reply;
use crate::web::respond::Respond;

/// The status of the service.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct Health<'a> {
    #[schemars(extend("const" = "healthy"))]
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    /// Whether the gateway accepts requests.
    ready: bool,
    mode: Mode,
    /// `codex-core` and its version.
    engine: &'a str,
    /// The default model.
    model: &'a str,
    model_provider: &'a str,
    /// Why this is the default model.
    model_reason: &'a str,
    /// The mechanism that confines commands.
    sandbox: Mechanism,
    /// Whether the agent may run commands.
    tools: Tools,
    sandbox_detail: &'a str,
    /// The step that makes the sandbox work.
    sandbox_fix: Option<&'static str>,
    /// The limits of commands.
    commands: Commands<'a>,
    load: Load,
}

/// The limits of commands that are in force.
#[derive(Debug, Serialize, JsonSchema)]
struct Commands<'a> {
    #[serde(flatten)]
    limits: &'a Report,
    /// Free bytes of the fullest volume that commands write to.
    free_bytes: Option<u64>,
    /// The free bytes below which no command starts.
    min_free_bytes: Option<u64>,
}

/// How callers authenticate.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// No API key: local callers only.
    Development,
    /// With an API key.
    Production,
}

/// The current load of the process.
#[derive(Debug, Serialize, JsonSchema)]
struct Load {
    /// Loaded conversations.
    conversations: usize,
    /// Running turns.
    turns: usize,
    /// Open connections.
    connections: usize,
    /// Open event streams.
    streams: usize,
    tasks: usize,
}

/// The reply of `GET /health`, in the form that `Accept` asks for.
#[derive(Debug)]
pub(crate) struct Reply(Response<Body>);

impl Respond for Reply {
    fn describe(operation: &mut Operation<'_>) {
        operation.gives::<Health<'_>>(StatusCode::OK);
        operation.also_gives(StatusCode::OK, "text/plain", json!({ "const": "OK" }));
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// `GET /health`
pub(crate) async fn health(app: &Arc<App>, context: &RequestContext) -> Result<Reply, Error> {
    let offered = ["application/json", "text/plain"];
    // A probe learns that the gateway is healthy, whatever it accepts.
    if accept::media_type(&context.headers, &offered).is_ok_and(|chosen| chosen == "text/plain") {
        return Ok(Reply(reply::text(StatusCode::OK, "OK")));
    }
    let facts = app.facts();
    let space = app.engine().space();
    let mode = if app.config().is_development() { Mode::Development } else { Mode::Production };
    let health = Health {
        status: "healthy",
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.started().elapsed().as_secs(),
        ready: app.is_staying() && app.conversations().records().failure().is_none(),
        mode,
        engine: facts.name,
        model: &facts.model,
        model_provider: &facts.model_provider,
        model_reason: &app.config().model_source.reason(),
        sandbox: facts.sandbox.mechanism,
        tools: facts.sandbox.tools,
        sandbox_detail: &facts.sandbox.detail,
        sandbox_fix: facts.sandbox.fix,
        commands: Commands {
            limits: &facts.limits,
            free_bytes: space.map(|space| space.free_bytes),
            min_free_bytes: space.map(|space| space.min_free_bytes),
        },
        load: Load {
            conversations: app.conversations().len(),
            turns: app.conversations().running(),
            connections: app.shutdown().connections(),
            streams: app.open_streams(),
            tasks: app.shutdown().tasks(),
        },
    };
    Ok(Reply(reply::json(StatusCode::OK, &health)))
}

/// The process is alive.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Live {
    #[schemars(extend("const" = "live"))]
    status: &'static str,
}

/// `GET /health/live`
pub(crate) async fn live(_app: &Arc<App>, _context: &RequestContext) -> Result<Json<Live>, Error> {
    Ok(Json(Live { status: "live" }))
}

/// The gateway accepts requests.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ready {
    #[schemars(extend("const" = "ready"))]
    status: &'static str,
}

/// `GET /health/ready`
pub(crate) async fn ready(app: &Arc<App>, _context: &RequestContext) -> Result<Json<Ready>, Error> {
    if !app.is_staying() {
        return Err(Error::new(Kind::Unavailable, "the gateway is starting or shutting down"));
    }
    match app.conversations().records().failure() {
        None => Ok(Json(Ready { status: "ready" })),
        Some(failure) => {
            Err(Error::new(Kind::Unavailable, format!("records cannot be written: {failure}")))
        }
    }
}
