//! The table of routes: endpoints, callers, arguments, results and handlers. Parsing, authorisation,
//! dispatch, span names and the OpenAPI document come from it. The methods of `/jsonrpc` and `/ws`
//! have a table of their own, `rpc::method`.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::LazyLock;

use http::Method;
use http::Response;

use super::openapi;
use super::path;
use super::path::PathParameter;
use super::spec::Spec;
use crate::access::Access;
use crate::api::approvals;
use crate::api::approvals::ApprovalId;
use crate::api::conversations;
use crate::api::events;
use crate::api::exec;
use crate::api::health;
use crate::api::history;
use crate::api::metrics;
use crate::api::turns;
use crate::app::App;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;
use crate::rpc;
use crate::web::Body;
use crate::web::Json;
use crate::web::RequestContext;
use crate::web::extract::AdmittedRequest;
use crate::web::extract::CancelOnDisconnect;
use crate::web::extract::Extract;
use crate::web::extract::OptionalJson;
use crate::web::extract::Query;
use crate::web::extract::RawJson;
use crate::web::extract::Upgrade;
use crate::web::respond::Created;
use crate::web::respond::CreatedOrFound;
use crate::web::respond::Respond;

type Parser = fn(&[Cow<'_, str>]) -> Result<Route, Error>;

/// Declares the routes: documentation, name, parameters of the path, method, path and access; the
/// type of the handler's argument, if it has one, `=>` the type of its result, and the handler; then
/// the statuses of errors that do not follow from these types.
macro_rules! routes {
    ($(
        $(#[doc = $doc:literal])+
        $route:ident $(($($parameter:ident: $kind:ty),+))? = $method:ident $template:literal,
            $access:ident $(, $argument:ty)? => $result:ty, $handler:path
            $(, [$($status:literal),+])?;
    )+) => {
        /// An endpoint, with the parameters of its path.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Route {
            $($(#[doc = $doc])+ $route $(($($kind),+))?,)+
        }

        impl Route {
            /// Every row.
            pub const TABLE: &'static [Spec] = &[$(Spec {
                name: stringify!($route),
                method: stringify!($method),
                template: $template,
                summary: concat!($($doc),+).trim_ascii(),
                access: Access::$access,
                describe: |_operation| {
                    $($(<$kind as PathParameter>::describe(stringify!($parameter), _operation);)+)?
                    $(<$argument as Extract>::describe(_operation);)?
                    <$result as Respond>::describe(_operation);
                    $(_operation.fails(&[$($status),+]);)?
                },
            }),+];

            /// For each row, the route by the values of its parameters.
            const PARSERS: &'static [Parser] = &[$(|_values| {
                let mut _values = _values.iter();
                Ok(Self::$route $(($({
                    let value = _values.next().map_or("", |value| value);
                    <$kind as PathParameter>::parse(stringify!($parameter), value)?
                }),+))?)
            }),+];

            /// Who may call it.
            pub fn access(&self) -> Access {
                match self {
                    $(Self::$route { .. } => Access::$access,)+
                }
            }

            /// Its template, for spans and metrics.
            pub fn template(&self) -> &'static str {
                match self {
                    $(Self::$route { .. } => $template,)+
                }
            }

            /// Runs its handler.
            ///
            /// # Errors
            /// Any error of the argument or the handler.
            pub(super) async fn run(
                self,
                app: &Arc<App>,
                request: &mut AdmittedRequest,
            ) -> Result<Response<Body>, Error> {
                let context = Arc::clone(&request.context);
                match self {
                    $(Self::$route $(($($parameter),+))? => {
                        let result: $result = $handler(
                            app,
                            &context,
                            $($($parameter,)+)?
                            $(<$argument>::extract(request, &app.config().server).await?,)?
                        )
                        .await?;
                        Ok(result.into_response())
                    })+
                }
            }
        }
    };
}

routes! {
    /// Reports version, model, sandbox and load; `OK` for `Accept: text/plain`.
    Health = GET "/health", Open => health::Reply, health::health;
    /// Reports that the process is alive.
    HealthLive = GET "/health/live", Open => Json<health::Live>, health::live;
    /// Reports whether the gateway accepts requests.
    HealthReady = GET "/health/ready", Open => Json<health::Ready>, health::ready, [503];
    /// Returns this document.
    Openapi = GET "/openapi.json", Open => openapi::Document, document;
    /// Returns every metric in Prometheus's text format.
    Metrics = GET "/metrics", Key => metrics::Exposition, metrics::show;

    /// Runs a prompt; streams core's events as JSON lines, or as SSE by `Accept`.
    Exec = POST "/exec", Key,
        (events::Framing, (CancelOnDisconnect, Json<exec::PromptRequest>))
        => exec::TurnResponse<exec::TurnEvents>, exec::events, [404, 409, 429, 502, 503, 507];
    /// Runs a prompt, waits for its turn, and returns one document.
    ExecTask = POST "/api/v1/exec", Key, (CancelOnDisconnect, Json<exec::PromptRequest>)
        => exec::TurnResponse<Json<exec::Task>>, exec::task, [404, 409, 429, 502, 503, 507];
    /// Runs a prompt; streams the task view of its turn, as SSE.
    ExecStream = POST "/api/v1/exec/stream", Key,
        (events::AcceptsSse, (CancelOnDisconnect, Json<exec::PromptRequest>))
        => exec::TurnResponse<exec::TaskStream>, exec::task_stream, [404, 409, 429, 502, 503, 507];

    /// Lists conversations, newest first, a page at a time.
    Conversations = GET "/api/v1/conversations", Key, Query<conversations::ListRequest>
        => Json<conversations::ConversationPage>, conversations::list;
    /// Starts a conversation, or returns the one of the session's name; with a prompt, starts its turn
    /// without waiting for it.
    ConversationStart = POST "/api/v1/conversations", Key,
        OptionalJson<conversations::StartRequest>
        => CreatedOrFound<conversations::ConversationView>, conversations::start,
        [409, 502, 503, 507];
    /// Returns a conversation and its newest model calls.
    Conversation(id: ConversationId) = GET "/api/v1/conversations/{id}", Key
        => Json<conversations::ConversationDetail>, conversations::show;
    /// Ends a conversation and archives it.
    ConversationArchive(id: ConversationId) = DELETE "/api/v1/conversations/{id}", Key
        => Json<conversations::Archived>, conversations::archive, [502, 507];
    /// Loads a conversation from disk, also out of the archive.
    ConversationResume(id: ConversationId) = POST "/api/v1/conversations/{id}/resume", Key
        => Json<conversations::ConversationView>, conversations::resume,
        [409, 502, 503, 507];
    /// Starts another conversation with the history of this one.
    ConversationFork(id: ConversationId) = POST "/api/v1/conversations/{id}/fork", Key,
        OptionalJson<conversations::ForkRequest>
        => Created<conversations::ConversationView>, conversations::fork, [502, 503, 507];

    /// Runs a prompt in the conversation, as `/exec` does.
    ConversationTurn(id: ConversationId) = POST "/api/v1/conversations/{id}/turns", Key,
        (events::Framing, (CancelOnDisconnect, Json<exec::PromptRequest>))
        => exec::TurnResponse<exec::TurnEvents>, exec::turn, [409, 429, 502, 503, 507];
    /// Interrupts the running turn and waits until it has stopped.
    ConversationInterrupt(id: ConversationId) = POST "/api/v1/conversations/{id}/interrupt", Key
        => Json<turns::Cancelled>, turns::interrupt;
    /// Adds a prompt to the running turn.
    ConversationSteer(id: ConversationId) = POST "/api/v1/conversations/{id}/steer", Key,
        Json<turns::SteerRequest> => Json<turns::Steered>, turns::steer, [502];
    /// Summarises the history to make room for more, and waits for it.
    ConversationCompact(id: ConversationId) = POST "/api/v1/conversations/{id}/compact", Key
        => Json<turns::TurnOutcome>, turns::compact, [409, 502, 503];
    /// Removes the last turns from what the model remembers; files stay as they are.
    ConversationRollback(id: ConversationId) = POST "/api/v1/conversations/{id}/rollback", Key,
        Json<turns::RollbackRequest> => Json<turns::RolledBack>, turns::rollback, [409, 502, 503];
    /// Has the agent review code, and waits for it.
    ConversationReview(id: ConversationId) = POST "/api/v1/conversations/{id}/review", Key,
        Json<turns::ReviewRequest> => Json<turns::TurnOutcome>, turns::review, [409, 502, 503];

    /// Returns the recorded turns of a conversation, oldest first, a page at a time.
    ConversationHistory(id: ConversationId) = GET "/api/v1/conversations/{id}/history", Key,
        Query<history::HistoryRequest> => Json<history::History>, history::history, [502];
    /// Returns the changes of the newest turn as a unified diff.
    ConversationDiff(id: ConversationId) = GET "/api/v1/conversations/{id}/diff", Key
        => Json<history::Diff>, history::diff;
    /// Returns what the running turn asks, oldest first.
    Approvals(id: ConversationId) = GET "/api/v1/conversations/{id}/approvals", Key
        => Json<approvals::Approvals>, approvals::list;
    /// Decides what the running turn asks; the turn goes on.
    Approve(id: ConversationId, approval_id: ApprovalId)
        = POST "/api/v1/conversations/{id}/approvals/{approval_id}", Key, Json<approvals::Answer>
        => Json<approvals::Decided>, approvals::approve, [502];
    /// Streams the events of a conversation, from any number on.
    ConversationEvents(id: ConversationId) = GET "/api/v1/conversations/{id}/events", Key,
        (events::Framing, (events::LastEventId, Query<events::Range>)) => events::EventStream, events::events, [410];

    /// Answers a call of JSON-RPC 2.0, or a batch.
    Jsonrpc = POST "/jsonrpc", Key, (CancelOnDisconnect, RawJson<rpc::schema::Message>)
        => rpc::http::Posted, rpc::http::post;
    /// Opens a WebSocket for JSON-RPC 2.0 with notifications.
    Socket = GET "/ws", Socket, (CancelOnDisconnect, Upgrade)
        => rpc::ws::Opened, rpc::ws::open, [426];
}

impl Route {
    /// Finds the route of a request.
    ///
    /// # Errors
    /// `NotFound`; `MethodNotAllowed` with the methods that the path has; `InvalidRequest` for a
    /// parameter of the path.
    pub fn parse(method: &Method, path: &str) -> Result<Self, Error> {
        let mut allowed = Vec::new();
        for (spec, parse) in Self::TABLE.iter().zip(Self::PARSERS) {
            let Some(values) = path::matches(spec.template, path) else { continue };
            if spec.methods().contains(&method.as_str()) {
                return parse(&values);
            }
            allowed.extend_from_slice(spec.methods());
        }
        if allowed.is_empty() {
            return Err(Error::new(Kind::NotFound, format!("no route {path}; see /openapi.json")));
        }
        let allow = allowed.join(", ");
        let detail = format!("expected {allow} {path}, got {method}");
        Err(Error::new(Kind::MethodNotAllowed { allow }, detail))
    }
}

/// `GET /openapi.json`
async fn document(_: &Arc<App>, _: &RequestContext) -> Result<openapi::Document, Error> {
    static DOCUMENT: LazyLock<openapi::Document> =
        LazyLock::new(|| openapi::Document::new(Route::TABLE));
    Ok(DOCUMENT.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_parses_to_its_own_template() {
        let id = "01234567-89ab-cdef-0123-456789abcdef";
        for spec in Route::TABLE {
            let path = spec.template.replace("{id}", id).replace("{approval_id}", "call%3A1");
            let method = Method::from_bytes(spec.method.as_bytes()).unwrap();
            assert_eq!(Route::parse(&method, &path).unwrap().template(), spec.template);
            if spec.method == "GET" {
                assert_eq!(Route::parse(&Method::HEAD, &path).unwrap().template(), spec.template);
            }
            let wrong = Route::parse(&Method::PUT, &path).unwrap_err();
            let Kind::MethodNotAllowed { allow } = wrong.kind() else { panic!("{wrong}") };
            assert!(allow.split(", ").any(|allowed| allowed == spec.method), "{path}: {allow}");
        }
    }

    #[test]
    fn allow_lists_every_method_of_the_path() {
        for (path, expected) in [
            ("/exec", "POST"),
            ("/api/v1/conversations", "GET, HEAD, POST"),
            ("/api/v1/conversations/01234567-89ab-cdef-0123-456789abcdef", "GET, HEAD, DELETE"),
        ] {
            let wrong = Route::parse(&Method::PATCH, path).unwrap_err();
            assert_eq!(wrong.kind(), &Kind::MethodNotAllowed { allow: expected.to_owned() });
        }
    }

    #[test]
    fn parameters_are_decoded_and_parsed() {
        let id = "01234567-89ab-cdef-0123-456789abcdef";
        let path = format!("/api/v1/conversations/{id}/approvals/call%3A1");
        let expected = Route::Approve(ConversationId::new(id), ApprovalId::new("call:1"));
        assert_eq!(Route::parse(&Method::POST, &path).unwrap(), expected);
        let bad = Route::parse(&Method::GET, "/api/v1/conversations/7").unwrap_err();
        assert_eq!(bad.kind(), &Kind::InvalidRequest);
    }

    #[test]
    fn other_paths_are_not_found() {
        let paths = ["/", "/exec/x", "/api/v1", "/api/v2/exec", "/api/v1/conversationsx"];
        for path in paths.into_iter().chain(["/api/v1/conversations/"]) {
            assert_eq!(Route::parse(&Method::GET, path).unwrap_err().kind(), &Kind::NotFound);
        }
    }
}
