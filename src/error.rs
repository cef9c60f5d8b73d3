//! The one error type, and the only place that picks a status.
//!
//! An [`Error`] becomes an `application/problem+json` document (RFC 9457) over HTTP or an error
//! object over JSON-RPC 2.0; both carry the same fields.

use http::StatusCode;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use codex_gateway_engine::EngineError;

/// What went wrong, in terms a caller can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The body, the query or a header is not what the endpoint takes.
    InvalidRequest,
    /// The body is not JSON.
    InvalidJson,
    /// No key, or not a known one.
    Unauthorized,
    /// Known, but not allowed this.
    Forbidden,
    /// No such route, conversation or session.
    NotFound,
    /// The JSON-RPC method does not exist.
    UnknownMethod,
    /// The JSON-RPC message is not a request.
    InvalidMessage,
    /// The endpoint speaks WebSocket.
    UpgradeRequired,
    /// The route exists, with other methods.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// A turn is running on the conversation.
    Busy {
        /// That turn.
        turn_id: String,
    },
    /// The events asked for are no longer kept.
    Gone {
        /// The oldest that are.
        oldest_seq: u64,
    },
    /// The body or the prompt is too long.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The turn ran out of time.
    TimedOut,
    /// Too much is waiting already.
    Overloaded,
    /// The process is starting or draining.
    Unavailable,
    /// codex-core failed.
    Engine,
    /// The model or its provider failed.
    Model,
    /// A server of tools failed.
    Tool,
    /// An upstream of a reverse call failed.
    Upstream,
    /// The gateway failed.
    Internal,
}

/// Whether the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nothing happened: sending it again is safe, and useless unless it is changed.
    Safe,
    /// Something may have happened.
    Unsafe,
    /// Nothing happened, and it may succeed later.
    After,
}

/// A failure on its way to becoming a response.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    kind: Kind,
    detail: String,
    /// Further members of the problem document.
    extra: Map<String, Value>,
}

impl Error {
    /// A failure of `kind`; `detail` says what was expected.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), extra: Map::new() }
    }

    /// A request that is not what the endpoint takes.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequest, detail)
    }

    /// Names the member of the request that is wrong.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        self.detail = format!("{path}: {}", self.detail);
        self
    }

    /// Adds a member to the problem document.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(member.to_owned(), value.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match &self.kind {
            Kind::InvalidRequest | Kind::InvalidJson | Kind::InvalidMessage => {
                StatusCode::BAD_REQUEST
            }
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound | Kind::UnknownMethod => StatusCode::NOT_FOUND,
            Kind::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Kind::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Kind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Kind::Busy { .. } => StatusCode::CONFLICT,
            Kind::Gone { .. } => StatusCode::GONE,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Kind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Engine | Kind::Model | Kind::Tool | Kind::Upstream => StatusCode::BAD_GATEWAY,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable name of the failure.
    pub fn code(&self) -> &'static str {
        match &self.kind {
            Kind::InvalidRequest => "invalid_request",
            Kind::InvalidJson => "invalid_json",
            Kind::InvalidMessage => "invalid_message",
            Kind::Unauthorized => "unauthorized",
            Kind::Forbidden => "forbidden",
            Kind::NotFound => "not_found",
            Kind::UnknownMethod => "unknown_method",
            Kind::UpgradeRequired => "upgrade_required",
            Kind::MethodNotAllowed { .. } => "method_not_allowed",
            Kind::BodyTimeout => "body_timeout",
            Kind::Busy { .. } => "conversation_busy",
            Kind::Gone { .. } => "events_gone",
            Kind::TooLarge => "too_large",
            Kind::UnsupportedMediaType => "unsupported_media_type",
            Kind::TimedOut => "timed_out",
            Kind::Overloaded => "overloaded",
            Kind::Unavailable => "unavailable",
            Kind::Engine => "engine_error",
            Kind::Model => "model_error",
            Kind::Tool => "tool_error",
            Kind::Upstream => "upstream_error",
            Kind::Internal => "internal_error",
        }
    }

    /// The JSON-RPC 2.0 error code; those above -32100 are the gateway's own.
    pub fn rpc_code(&self) -> i32 {
        match &self.kind {
            Kind::InvalidJson => -32700,
            Kind::InvalidMessage => -32600,
            Kind::UnknownMethod => -32601,
            Kind::InvalidRequest
            | Kind::TooLarge
            | Kind::UnsupportedMediaType
            | Kind::UpgradeRequired
            | Kind::MethodNotAllowed { .. } => -32602,
            Kind::Internal => -32603,
            Kind::Overloaded | Kind::Unavailable => -32001,
            Kind::Busy { .. } => -32002,
            Kind::Unauthorized | Kind::Forbidden => -32003,
            Kind::NotFound | Kind::Gone { .. } => -32004,
            Kind::TimedOut | Kind::BodyTimeout => -32005,
            Kind::Engine | Kind::Model | Kind::Tool | Kind::Upstream => -32006,
        }
    }

    /// Whether the same request may be sent again.
    pub fn retry(&self) -> Retry {
        match &self.kind {
            Kind::Busy { .. } | Kind::Overloaded | Kind::Unavailable | Kind::BodyTimeout => {
                Retry::After
            }
            Kind::TimedOut | Kind::Engine | Kind::Model | Kind::Upstream | Kind::Internal => {
                Retry::Unsafe
            }
            Kind::InvalidRequest
            | Kind::InvalidJson
            | Kind::InvalidMessage
            | Kind::Unauthorized
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::UnknownMethod
            | Kind::UpgradeRequired
            | Kind::MethodNotAllowed { .. }
            | Kind::Gone { .. }
            | Kind::TooLarge
            | Kind::UnsupportedMediaType
            | Kind::Tool => Retry::Safe,
        }
    }

    /// Who failed: `gateway`, `model` or `tool` (what a tool says during a turn is the turn's to report).
    pub fn source(&self) -> &'static str {
        if self.kind == Kind::Model {
            "model"
        } else if self.kind == Kind::Tool {
            "tool"
        } else {
            "gateway"
        }
    }

    /// The problem document (RFC 9457). `instance` is the path of the request.
    pub fn problem(&self, request_id: &str, instance: &str) -> Value {
        let mut problem = Map::new();
        let status = self.status();
        problem.insert("type".into(), format!("urn:codex-gateway:problem:{}", self.code()).into());
        problem.insert("title".into(), status.canonical_reason().unwrap_or("Error").into());
        problem.insert("status".into(), status.as_u16().into());
        problem.insert("detail".into(), self.detail.clone().into());
        problem.insert("instance".into(), instance.into());
        problem.extend(self.members(request_id));
        Value::Object(problem)
    }

    /// The error object of a JSON-RPC 2.0 response (section 5.1).
    pub fn rpc(&self, request_id: &str) -> Value {
        let message = match &self.kind {
            Kind::Busy { .. } => "conversation busy",
            _ => self.detail.as_str(),
        };
        let mut data = self.members(request_id);
        data.insert("detail".into(), self.detail.clone().into());
        json!({ "code": self.rpc_code(), "message": message, "data": data })
    }

    fn members(&self, request_id: &str) -> Map<String, Value> {
        let mut members = self.extra.clone();
        members.insert("code".into(), self.code().into());
        members.insert("request_id".into(), request_id.into());
        members.insert(
            "retry".into(),
            match self.retry() {
                Retry::Safe => "safe",
                Retry::Unsafe => "unsafe",
                Retry::After => "after",
            }
            .into(),
        );
        members.insert("source".into(), self.source().into());
        match &self.kind {
            Kind::Busy { turn_id } => {
                members.insert("turn_id".into(), turn_id.clone().into());
            }
            Kind::Gone { oldest_seq } => {
                members.insert("oldest_seq".into(), (*oldest_seq).into());
            }
            _ => {}
        }
        members
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::Rejected(_) => Kind::InvalidRequest,
            EngineError::NotFound(_) => Kind::NotFound,
            EngineError::ToolServer(_) => Kind::Tool,
            EngineError::ToolServerTimedOut(_) => Kind::TimedOut,
            EngineError::NoActiveTurn | EngineError::Failed(_) => Kind::Engine,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_status_code_retry_and_source() {
        let error = Error::new(Kind::Busy { turn_id: "t1".into() }, "a turn is running");
        assert_eq!(
            error.problem("r1", "/exec"),
            json!({
                "type": "urn:codex-gateway:problem:conversation_busy",
                "title": "Conflict",
                "status": 409,
                "detail": "a turn is running",
                "instance": "/exec",
                "code": "conversation_busy",
                "request_id": "r1",
                "retry": "after",
                "source": "gateway",
                "turn_id": "t1",
            })
        );
        assert_eq!(error.rpc("r1")["code"], -32002);
        assert_eq!(error.rpc("r1")["message"], "conversation busy");
    }
}
