//! A route is an enum. [`Route::parse`] is pure; who may call and what it is called in spans are
//! exhaustive matches, so a new endpoint does not compile until it has said both.

use http::Method;

use crate::access::Access;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::error::Kind;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /health`
    Health,
    /// `GET /health/live`
    Live,
    /// `GET /health/ready`
    Ready,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /metrics`
    Metrics,
    /// `POST /exec`
    Exec,
    /// `POST /api/v1/exec`
    ExecTask,
    /// `POST /api/v1/exec/stream`
    ExecStream,
    /// `GET /api/v1/conversations`
    Conversations,
    /// `POST /api/v1/conversations`
    ConversationStart,
    /// `GET /api/v1/conversations/{id}`
    Conversation(ConversationId),
    /// `DELETE /api/v1/conversations/{id}`
    ConversationArchive(ConversationId),
    /// `POST /api/v1/conversations/{id}/{action}`
    ConversationAct(ConversationId, Action),
    /// `GET /api/v1/conversations/{id}/history`
    ConversationHistory(ConversationId),
    /// `GET /api/v1/conversations/{id}/diff`
    ConversationDiff(ConversationId),
    /// `GET /api/v1/conversations/{id}/approvals`
    Approvals(ConversationId),
    /// `POST /api/v1/conversations/{id}/approvals/{approval_id}`
    Approve(ConversationId, String),
    /// `GET /api/v1/conversations/{id}/events`
    ConversationEvents(ConversationId),
    /// `POST /jsonrpc`
    JsonRpc,
    /// `GET /ws`
    Socket,
}

/// What can be done to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Starts a turn.
    Turns,
    /// Stops the running turn.
    Interrupt,
    /// Adds to the running turn.
    Steer,
    /// Starts another conversation with its history.
    Fork,
    /// Takes it up again.
    Resume,
    /// Sums up its history.
    Compact,
    /// Takes turns out of its history.
    Rollback,
    /// Reviews code.
    Review,
}

impl Action {
    /// Every action, by its last segment.
    const TABLE: [(&'static str, Self, &'static str); 8] = [
        ("turns", Self::Turns, "/api/v1/conversations/{id}/turns"),
        ("interrupt", Self::Interrupt, "/api/v1/conversations/{id}/interrupt"),
        ("steer", Self::Steer, "/api/v1/conversations/{id}/steer"),
        ("fork", Self::Fork, "/api/v1/conversations/{id}/fork"),
        ("resume", Self::Resume, "/api/v1/conversations/{id}/resume"),
        ("compact", Self::Compact, "/api/v1/conversations/{id}/compact"),
        ("rollback", Self::Rollback, "/api/v1/conversations/{id}/rollback"),
        ("review", Self::Review, "/api/v1/conversations/{id}/review"),
    ];

    fn parse(segment: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(name, ..)| *name == segment).map(|(_, action, _)| *action)
    }

    fn template(self) -> &'static str {
        let known = Self::TABLE.iter().find(|(_, action, _)| *action == self);
        known.map_or("/api/v1/conversations/{id}/{action}", |(.., template)| template)
    }
}

impl Route {
    /// Method and template of every route, for the README's table and the tests of both.
    pub const TABLE: [(&'static str, &'static str); 27] = [
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("POST", "/exec"),
        ("POST", "/api/v1/exec"),
        ("POST", "/api/v1/exec/stream"),
        ("GET", "/api/v1/conversations"),
        ("POST", "/api/v1/conversations"),
        ("GET", "/api/v1/conversations/{id}"),
        ("DELETE", "/api/v1/conversations/{id}"),
        ("POST", "/api/v1/conversations/{id}/turns"),
        ("POST", "/api/v1/conversations/{id}/interrupt"),
        ("POST", "/api/v1/conversations/{id}/steer"),
        ("POST", "/api/v1/conversations/{id}/fork"),
        ("POST", "/api/v1/conversations/{id}/resume"),
        ("POST", "/api/v1/conversations/{id}/compact"),
        ("POST", "/api/v1/conversations/{id}/rollback"),
        ("POST", "/api/v1/conversations/{id}/review"),
        ("GET", "/api/v1/conversations/{id}/history"),
        ("GET", "/api/v1/conversations/{id}/diff"),
        ("GET", "/api/v1/conversations/{id}/approvals"),
        ("POST", "/api/v1/conversations/{id}/approvals/{approval_id}"),
        ("GET", "/api/v1/conversations/{id}/events"),
        ("POST", "/jsonrpc"),
        ("GET", "/ws"),
    ];

    /// Finds the route of a request.
    ///
    /// # Errors
    /// `NotFound`, or `MethodNotAllowed` with the methods that the path has.
    pub fn parse(method: &Method, path: &str) -> Result<Self, Error> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (get, post, delete) = match segments.as_slice() {
            ["health"] => (Some(Self::Health), None, None),
            ["health", "live"] => (Some(Self::Live), None, None),
            ["health", "ready"] => (Some(Self::Ready), None, None),
            ["openapi.json"] => (Some(Self::OpenApi), None, None),
            ["metrics"] => (Some(Self::Metrics), None, None),
            ["exec"] => (None, Some(Self::Exec), None),
            ["api", "v1", "exec"] => (None, Some(Self::ExecTask), None),
            ["api", "v1", "exec", "stream"] => (None, Some(Self::ExecStream), None),
            ["api", "v1", "conversations"] => {
                (Some(Self::Conversations), Some(Self::ConversationStart), None)
            }
            ["api", "v1", "conversations", id, rest @ ..] => {
                return Self::of_conversation(method, path, ConversationId::parse(id)?, rest);
            }
            ["jsonrpc"] => (None, Some(Self::JsonRpc), None),
            ["ws"] => (Some(Self::Socket), None, None),
            _ => return Err(no_route(path)),
        };
        choose(method, path, get, post, delete)
    }

    fn of_conversation(
        method: &Method,
        path: &str,
        id: ConversationId,
        rest: &[&str],
    ) -> Result<Self, Error> {
        let (get, post, delete) = match rest {
            [] => (Some(Self::Conversation(id.clone())), None, Some(Self::ConversationArchive(id))),
            ["events"] => (Some(Self::ConversationEvents(id)), None, None),
            ["history"] => (Some(Self::ConversationHistory(id)), None, None),
            ["diff"] => (Some(Self::ConversationDiff(id)), None, None),
            ["approvals"] => (Some(Self::Approvals(id)), None, None),
            ["approvals", approval] => {
                let approval = percent_encoding::percent_decode_str(approval).decode_utf8_lossy();
                (None, Some(Self::Approve(id, approval.into_owned())), None)
            }
            [action] => {
                let action = Action::parse(action).ok_or_else(|| no_route(path))?;
                (None, Some(Self::ConversationAct(id, action)), None)
            }
            _ => return Err(no_route(path)),
        };
        choose(method, path, get, post, delete)
    }

    /// Who may call it.
    pub fn access(&self) -> Access {
        match self {
            Self::Health | Self::Live | Self::Ready | Self::OpenApi => Access::Open,
            Self::Metrics
            | Self::Exec
            | Self::ExecTask
            | Self::ExecStream
            | Self::Conversations
            | Self::ConversationStart
            | Self::Conversation(_)
            | Self::ConversationArchive(_)
            | Self::ConversationAct(..)
            | Self::ConversationEvents(_)
            | Self::ConversationHistory(_)
            | Self::ConversationDiff(_)
            | Self::Approvals(_)
            | Self::Approve(..)
            | Self::JsonRpc => Access::Key,
            Self::Socket => Access::Socket,
        }
    }

    /// Its template, for spans and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
            Self::OpenApi => "/openapi.json",
            Self::Metrics => "/metrics",
            Self::Exec => "/exec",
            Self::ExecTask => "/api/v1/exec",
            Self::ExecStream => "/api/v1/exec/stream",
            Self::Conversations | Self::ConversationStart => "/api/v1/conversations",
            Self::Conversation(_) | Self::ConversationArchive(_) => "/api/v1/conversations/{id}",
            Self::ConversationAct(_, action) => action.template(),
            Self::ConversationHistory(_) => "/api/v1/conversations/{id}/history",
            Self::ConversationDiff(_) => "/api/v1/conversations/{id}/diff",
            Self::Approvals(_) => "/api/v1/conversations/{id}/approvals",
            Self::Approve(..) => "/api/v1/conversations/{id}/approvals/{approval_id}",
            Self::ConversationEvents(_) => "/api/v1/conversations/{id}/events",
            Self::JsonRpc => "/jsonrpc",
            Self::Socket => "/ws",
        }
    }
}

/// The route that a path has for a method.
fn choose(
    method: &Method,
    path: &str,
    get: Option<Route>,
    post: Option<Route>,
    delete: Option<Route>,
) -> Result<Route, Error> {
    let allow = match (&get, &post, &delete) {
        (Some(_), Some(_), _) => "GET, POST",
        (Some(_), None, Some(_)) => "GET, DELETE",
        (None, Some(_), _) => "POST",
        (_, _, _) => "GET",
    };
    let found = match *method {
        Method::GET => get,
        Method::POST => post,
        Method::DELETE => delete,
        _ => None,
    };
    found.ok_or_else(|| {
        Error::new(
            Kind::MethodNotAllowed { allow },
            format!("expected {allow} {path}, got {method}"),
        )
    })
}

fn no_route(path: &str) -> Error {
    Error::new(Kind::NotFound, format!("no route {path}; see the README"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_table_parses_to_its_own_name() {
        let id = "01234567-89ab-cdef-0123-456789abcdef";
        for (method, template) in Route::TABLE {
            let path = template.replace("{id}", id).replace("{approval_id}", "call%3A1");
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Route::parse(&method, &path).unwrap().name(), template);
            let wrong = Route::parse(&Method::PUT, &path).unwrap_err();
            let Kind::MethodNotAllowed { allow } = wrong.kind() else { panic!("{wrong}") };
            assert!(allow.split(", ").any(|allowed| allowed == method.as_str()), "{path}: {allow}");
        }
    }

    #[test]
    fn anything_else_is_not_found() {
        for path in ["/", "/exec/x", "/api/v1", "/api/v2/exec", "/api/v1/conversationsx"] {
            assert_eq!(Route::parse(&Method::GET, path).unwrap_err().kind(), &Kind::NotFound);
        }
        let bad_id = Route::parse(&Method::GET, "/api/v1/conversations/7").unwrap_err();
        assert_eq!(bad_id.kind(), &Kind::InvalidRequest);
    }
}
