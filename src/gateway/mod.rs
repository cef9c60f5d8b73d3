//! The hyper service: one request in, one response out.
//!
//! [`Gateway::call`] makes the request id, parses the [`Route`], admits the caller, dispatches, and
//! is the one place where an [`Error`] becomes a response.

mod body;
pub mod reply;
mod route;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use codex_gateway_engine::EngineFacts;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::Response;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

pub use body::Body;
pub use route::Access;
pub use route::Action;
pub use route::Route;

use crate::access;
use crate::access::Caller;
use crate::api;
use crate::api::conversations;
use crate::bridge::record::Records;
use crate::config::Config;
use crate::conversation::Conversation;
use crate::conversation::id::Seq;
use crate::conversation::registry::Registry;
use crate::error::Error;
use crate::error::Kind;
use crate::proxy::Proxies;
use crate::rpc;
use crate::rpc::Peer;
use crate::server::Counted;
use crate::server::Shutdown;
use crate::socket;
use crate::stream::Reading;
use crate::stream::Until;
use crate::telemetry;
use crate::telemetry::http::Exchange;
use crate::telemetry::stream::StreamSpan;
use crate::terminal::Terminals;

/// One-off commands and patches of all clients at a time.
const MAX_COMMANDS: usize = 32;

/// Everything a request needs.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    facts: EngineFacts,
    conversations: Arc<Registry>,
    model_calls: Records,
    terminals: Terminals,
    proxies: Proxies,
    shutdown: Shutdown,
    started: Instant,
    streams: Arc<AtomicUsize>,
    sockets: Arc<Semaphore>,
    commands: Arc<Semaphore>,
}

/// What is known of a request before its body is read.
#[derive(Debug)]
pub struct Context {
    /// Sent back as `X-Request-Id`, and in every error.
    pub request_id: String,
    /// The head.
    pub headers: HeaderMap,
    /// What follows the `?`.
    pub query: Option<String>,
    /// Who is calling, where that is known.
    pub caller: Option<Caller>,
}

impl Context {
    /// The name of the caller's key.
    pub fn caller(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.name)
    }

    /// The parameters of the query, decoded.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        let query = self.query.as_deref().unwrap_or_default();
        query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
    }
}

impl Gateway {
    /// A gateway over an engine that has started.
    pub fn new(
        config: Config,
        facts: EngineFacts,
        conversations: Registry,
        model_calls: Records,
        terminals: Terminals,
        proxies: Proxies,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let conversations = Arc::new(conversations);
        shutdown.spawn(Arc::clone(&conversations).keep_house());
        shutdown.spawn(Arc::clone(&conversations).keep_pool());
        let sockets = Arc::new(Semaphore::new(config.server.max_connections));
        let gateway = Arc::new(Self {
            config,
            facts,
            conversations,
            model_calls,
            terminals,
            proxies,
            shutdown,
            started: Instant::now(),
            streams: Arc::default(),
            sockets,
            commands: Arc::new(Semaphore::new(MAX_COMMANDS)),
        });
        telemetry::observe::observe(&gateway);
        gateway
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the engine is.
    pub fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    /// The conversations of this process.
    pub fn conversations(&self) -> &Registry {
        &self.conversations
    }

    /// What model calls were.
    pub fn model_calls(&self) -> &Records {
        &self.model_calls
    }

    /// The terminals of this process.
    pub(crate) fn terminals(&self) -> &Terminals {
        &self.terminals
    }

    /// Where reverse calls go.
    pub(crate) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// The stages of the end.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Since when the process serves.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Draining has not begun. (Before start-up is done, nothing is accepted.)
    pub fn is_ready(&self) -> bool {
        !self.shutdown.drain.is_cancelled()
    }

    /// How many event streams are open.
    pub fn open_streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Counts an event stream for as long as the guard lives.
    pub(crate) fn stream_guard(&self) -> Counted {
        Counted::new(&self.streams)
    }

    /// Runs something to its end whether or not the client waits for it.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn undisturbed<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, done) = oneshot::channel();
        // Not inside the request's span: what core starts for a conversation would hold it.
        self.shutdown.spawn(async move {
            let _ = sender.send(work.await);
        });
        done.await.map_err(|_| Error::new(Kind::Internal, "the work was lost"))?
    }

    /// The place of one more WebSocket, if there is one.
    pub(crate) fn socket_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.sockets).try_acquire_owned().ok()
    }

    /// The place of one more one-off command.
    ///
    /// # Errors
    /// `Overloaded` where as many run as may; `Unavailable` while the process drains.
    pub(crate) fn command_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if !self.is_ready() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        Arc::clone(&self.commands).try_acquire_owned().map_err(|_| {
            let expected =
                format!("expected at most {MAX_COMMANDS} commands and patches at a time");
            Error::new(Kind::Overloaded, expected)
        })
    }

    /// A reading of a conversation's events, with this process's heartbeat and end.
    pub(crate) fn reading(
        &self,
        conversation: &Conversation,
        after: Seq,
        until: Until,
        raw: bool,
    ) -> Reading {
        Reading {
            cursor: conversation.log().cursor(after),
            conversation_id: conversation.id().clone(),
            until,
            raw,
            heartbeat: self.config.turns.heartbeat,
            drain: self.shutdown.drain.clone(),
            told: StreamSpan::begin(),
        }
    }

    /// Answers a request.
    pub async fn call(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let request_id = request_id(request.headers());
        let path = request.uri().path().to_owned();
        let route = Route::parse(request.method(), &path);
        let name = route.as_ref().ok().map(Route::name);
        let mut exchange = Exchange::begin(&request, name, &request_id);
        let span = exchange.span().clone();
        async {
            let response = match self.dispatch(route, request, &request_id).await {
                Ok(response) => response,
                Err(error) => {
                    exchange.fail(&error);
                    if error.status().is_server_error() {
                        tracing::error!(%error, code = error.code(), "request failed");
                    } else {
                        tracing::debug!(%error, code = error.code(), "request refused");
                    }
                    reply::problem(&error, &request_id, &path)
                }
            };
            tracing::debug!(status = response.status().as_u16(), "answered");
            exchange.answer(response.status());
            let mut response = response.map(|body| body.owning(exchange));
            if let Ok(value) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert("x-request-id", value);
            }
            response
        }
        .instrument(span)
        .await
    }

    async fn dispatch(
        self: &Arc<Self>,
        route: Result<Route, Error>,
        request: Request<Incoming>,
        request_id: &str,
    ) -> Result<Response<Body>, Error> {
        let route = route?;
        let access = match route {
            Route::Metrics if self.config.telemetry.metrics_open => Access::Open,
            _ => route.access(),
        };
        let caller = access::admit(&self.config.keys, access, request.headers())?;
        if let Some(Caller { name }) = &caller {
            Exchange::called_by(name);
        }
        let (mut head, body) = request.into_parts();
        let context = Context {
            request_id: request_id.to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: std::mem::take(&mut head.headers),
            caller,
        };
        match route {
            Route::Health => Ok(api::health::health(self, &context)),
            Route::Live => Ok(api::health::live()),
            Route::Ready => api::health::ready(self),
            Route::OpenApi => Ok(api::openapi::show()),
            Route::Metrics => api::metrics::show(),
            Route::Exec => api::exec::events(self, &context, None, body).await,
            Route::ExecTask => api::exec::task(self, &context, body).await,
            Route::ExecStream => api::exec::task_stream(self, &context, body).await,
            Route::Conversation(id) => conversations::show(self, &id),
            Route::Conversations => conversations::list(self, &context),
            Route::ConversationStart => conversations::start(self, &context, body).await,
            Route::ConversationArchive(id) => conversations::archive(self, &id).await,
            Route::ConversationAct(id, action) => {
                conversations::act::act(self, &context, &id, action, body).await
            }
            Route::ConversationEvents(id) => {
                conversations::events::events(self, &context, &id).await
            }
            Route::ConversationHistory(id) => conversations::look::history(self, &id).await,
            Route::ConversationDiff(id) => conversations::look::diff(self, &id),
            Route::Approvals(id) => conversations::look::approvals(self, &id),
            Route::Approve(id, approval) => {
                conversations::look::approve(self, &context, &id, &approval, body).await
            }
            Route::JsonRpc => {
                let peer = Peer::new(Arc::clone(self), Arc::new(context), None);
                rpc::http(&peer, body).await
            }
            Route::Socket => {
                head.headers.clone_from(&context.headers);
                socket::open(self, context, Request::from_parts(head, ()))
            }
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
