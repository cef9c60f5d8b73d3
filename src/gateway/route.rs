//! A route is an enum. [`Route::parse`] is pure; who may call and what it is called in spans are
//! exhaustive matches, so a new endpoint does not compile until it has said both.

use http::Method;

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
    /// `POST /exec`
    Exec,
    /// `POST /api/v1/exec`
    ExecTask,
    /// `POST /api/v1/exec/stream`
    ExecStream,
    /// `GET /api/v1/conversations/{id}`
    Conversation(ConversationId),
    /// `GET /api/v1/conversations/{id}/events`
    ConversationEvents(ConversationId),
    /// `POST /jsonrpc`
    JsonRpc,
    /// `GET /ws`
    Socket,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Open,
    /// Whoever has a key.
    Key,
    /// Whoever has a key, or will show it in the first message.
    Socket,
}

impl Route {
    /// Method and template of every route, for the README's table and the tests of both.
    pub const TABLE: [(&'static str, &'static str); 10] = [
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("POST", "/exec"),
        ("POST", "/api/v1/exec"),
        ("POST", "/api/v1/exec/stream"),
        ("GET", "/api/v1/conversations/{id}"),
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
        let (route, allow) = match segments.as_slice() {
            ["health"] => (Self::Health, "GET"),
            ["health", "live"] => (Self::Live, "GET"),
            ["health", "ready"] => (Self::Ready, "GET"),
            ["exec"] => (Self::Exec, "POST"),
            ["api", "v1", "exec"] => (Self::ExecTask, "POST"),
            ["api", "v1", "exec", "stream"] => (Self::ExecStream, "POST"),
            ["api", "v1", "conversations", id] => {
                (Self::Conversation(ConversationId::parse(id)?), "GET")
            }
            ["api", "v1", "conversations", id, "events"] => {
                (Self::ConversationEvents(ConversationId::parse(id)?), "GET")
            }
            ["jsonrpc"] => (Self::JsonRpc, "POST"),
            ["ws"] => (Self::Socket, "GET"),
            _ => {
                return Err(Error::new(Kind::NotFound, format!("no route {path}; see the README")));
            }
        };
        if method == allow {
            return Ok(route);
        }
        Err(Error::new(
            Kind::MethodNotAllowed { allow },
            format!("expected {allow} {path}, got {method}"),
        ))
    }

    /// Who may call it.
    pub fn access(&self) -> Access {
        match self {
            Self::Health | Self::Live | Self::Ready => Access::Open,
            Self::Exec
            | Self::ExecTask
            | Self::ExecStream
            | Self::Conversation(_)
            | Self::ConversationEvents(_)
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
            Self::Exec => "/exec",
            Self::ExecTask => "/api/v1/exec",
            Self::ExecStream => "/api/v1/exec/stream",
            Self::Conversation(_) => "/api/v1/conversations/{id}",
            Self::ConversationEvents(_) => "/api/v1/conversations/{id}/events",
            Self::JsonRpc => "/jsonrpc",
            Self::Socket => "/ws",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_table_parses_to_its_own_name() {
        let id = "01234567-89ab-cdef-0123-456789abcdef";
        for (method, template) in Route::TABLE {
            let path = template.replace("{id}", id);
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Route::parse(&method, &path).unwrap().name(), template);
            let wrong = Route::parse(&Method::DELETE, &path).unwrap_err();
            assert_eq!(
                wrong.kind(),
                &Kind::MethodNotAllowed {
                    allow: if method == Method::GET { "GET" } else { "POST" }
                }
            );
        }
    }

    #[test]
    fn anything_else_is_not_found() {
        for path in ["/", "/exec/x", "/api/v1", "/api/v2/exec", "/api/v1/conversations"] {
            assert_eq!(Route::parse(&Method::GET, path).unwrap_err().kind(), &Kind::NotFound);
        }
        let bad_id = Route::parse(&Method::GET, "/api/v1/conversations/7").unwrap_err();
        assert_eq!(bad_id.kind(), &Kind::InvalidRequest);
    }
}
