//! [`Error`]: the error type of the crate, and the only place that picks a status.
//!
//! Over HTTP an error is an `application/problem+json` document (RFC 9457), over JSON-RPC 2.0 an
//! error object. Both carry the same members.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use codex_gateway_engine::EngineError;

/// The category of an error. It determines the status, the codes and the retry advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The endpoint does not accept the body, the query or a header.
    InvalidRequest,
    /// The body is not JSON.
    InvalidJson,
    /// The request has no API key, or an unknown one.
    Unauthorized,
    /// The caller is known but may not do this.
    Forbidden,
    /// The route, conversation or session does not exist.
    NotFound,
    /// The JSON-RPC method does not exist.
    UnknownMethod,
    /// The JSON-RPC message is not a request.
    InvalidMessage,
    /// The endpoint accepts WebSocket upgrades only.
    UpgradeRequired,
    /// The route does not support the method.
    MethodNotAllowed {
        /// The value of the `Allow` header.
        allow: String,
    },
    /// The body did not arrive within the time limit.
    BodyTimeout,
    /// The conversation is running another turn.
    Busy {
        /// The running turn.
        turn_id: String,
    },
    /// Another conversation has what the request needs, such as the name of its session.
    Conflict,
    /// The requested events are no longer in the event log.
    Gone {
        /// The oldest event that is.
        oldest_seq: u64,
    },
    /// The body, the prompt or a file exceeds its size limit.
    TooLarge,
    /// The content type is not `application/json`.
    UnsupportedMediaType,
    /// The body has a content coding that the gateway does not decode.
    UnsupportedCoding,
    /// `Accept` refuses every media type of the response.
    NotAcceptable,
    /// The operation exceeded its time limit.
    TimedOut,
    /// A limit on concurrency or queueing is reached.
    Overloaded,
    /// The disk does not take what has to be stored.
    InsufficientStorage,
    /// The process is draining.
    Unavailable,
    /// codex-core failed.
    Engine,
    /// The model or its provider failed.
    Model,
    /// A tool server failed.
    Tool,
    /// An upstream of a reverse call failed.
    Upstream,
    /// The gateway failed: a bug, or a local file system error.
    Internal,
}

/// Whether a client may send the same request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// The request had no effect. Repeating it is safe but fails again until the request changes.
    Safe,
    /// The request may have had an effect.
    Unsafe,
    /// The request had no effect, and may succeed later.
    #[serde(rename = "after")]
    Later,
}

/// The component that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The gateway, codex-core or an upstream of a reverse call.
    Gateway,
    /// The model or its provider.
    Model,
    /// A tool server.
    Tool,
}

/// An error that becomes a response.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    kind: Kind,
    detail: String,
    /// Additional members of the problem document.
    extra: Map<String, Value>,
}

impl Error {
    /// Creates an error. `detail` states what was expected: `expected X, got Y; do Z`.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), extra: Map::new() }
    }

    /// Creates an [`Kind::InvalidRequest`].
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequest, detail)
    }

    /// Prefixes the detail with the invalid field of the request: `field: detail`.
    #[must_use]
    pub fn at_field(mut self, field: &str) -> Self {
        self.detail = format!("{field}: {}", self.detail);
        self
    }

    /// Adds a member to the problem document.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(member.to_owned(), value.into());
        self
    }

    /// Returns the category.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Returns the HTTP status.
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
            Kind::Busy { .. } | Kind::Conflict => StatusCode::CONFLICT,
            Kind::Gone { .. } => StatusCode::GONE,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::UnsupportedMediaType | Kind::UnsupportedCoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Kind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Kind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Kind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Kind::InsufficientStorage => StatusCode::INSUFFICIENT_STORAGE,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Engine | Kind::Model | Kind::Tool | Kind::Upstream => StatusCode::BAD_GATEWAY,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the stable code that clients and metrics use.
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
            Kind::Conflict => "conflict",
            Kind::Gone { .. } => "events_gone",
            Kind::TooLarge => "too_large",
            Kind::UnsupportedMediaType => "unsupported_media_type",
            Kind::UnsupportedCoding => "unsupported_coding",
            Kind::NotAcceptable => "not_acceptable",
            Kind::TimedOut => "timed_out",
            Kind::Overloaded => "overloaded",
            Kind::InsufficientStorage => "insufficient_storage",
            Kind::Unavailable => "unavailable",
            Kind::Engine => "engine_error",
            Kind::Model => "model_error",
            Kind::Tool => "tool_error",
            Kind::Upstream => "upstream_error",
            Kind::Internal => "internal_error",
        }
    }

    /// Returns the JSON-RPC 2.0 error code. -32099 to -32000 are server-defined (section 5.1).
    pub fn rpc_code(&self) -> i32 {
        match &self.kind {
            Kind::InvalidJson => -32700,
            Kind::InvalidMessage => -32600,
            Kind::UnknownMethod => -32601,
            Kind::InvalidRequest
            | Kind::Conflict
            | Kind::TooLarge
            | Kind::UnsupportedMediaType
            | Kind::UnsupportedCoding
            | Kind::NotAcceptable
            | Kind::UpgradeRequired
            | Kind::MethodNotAllowed { .. } => -32602,
            Kind::Internal => -32603,
            Kind::Overloaded | Kind::InsufficientStorage | Kind::Unavailable => -32001,
            Kind::Busy { .. } => -32002,
            Kind::Unauthorized | Kind::Forbidden => -32003,
            Kind::NotFound | Kind::Gone { .. } => -32004,
            Kind::TimedOut | Kind::BodyTimeout => -32005,
            Kind::Engine | Kind::Model | Kind::Tool | Kind::Upstream => -32006,
        }
    }

    /// Returns whether a client may send the same request again.
    pub fn retry(&self) -> Retry {
        match &self.kind {
            Kind::Busy { .. }
            | Kind::Overloaded
            | Kind::InsufficientStorage
            | Kind::Unavailable
            | Kind::BodyTimeout => Retry::Later,
            Kind::TimedOut | Kind::Engine | Kind::Model | Kind::Upstream | Kind::Internal => {
                Retry::Unsafe
            }
            Kind::InvalidRequest
            | Kind::Conflict
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
            | Kind::UnsupportedCoding
            | Kind::NotAcceptable
            | Kind::Tool => Retry::Safe,
        }
    }

    /// Returns the component that failed. Tool failures during a turn are part of the turn's
    /// report instead.
    pub fn origin(&self) -> Origin {
        match &self.kind {
            Kind::Model => Origin::Model,
            Kind::Tool => Origin::Tool,
            Kind::InvalidRequest
            | Kind::Conflict
            | Kind::InvalidJson
            | Kind::Unauthorized
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::UnknownMethod
            | Kind::InvalidMessage
            | Kind::UpgradeRequired
            | Kind::MethodNotAllowed { .. }
            | Kind::BodyTimeout
            | Kind::Busy { .. }
            | Kind::Gone { .. }
            | Kind::TooLarge
            | Kind::UnsupportedMediaType
            | Kind::UnsupportedCoding
            | Kind::NotAcceptable
            | Kind::TimedOut
            | Kind::Overloaded
            | Kind::InsufficientStorage
            | Kind::Unavailable
            | Kind::Engine
            | Kind::Upstream
            | Kind::Internal => Origin::Gateway,
        }
    }

    /// Returns the problem document. `instance` is the path of the request.
    pub fn problem<'a>(&'a self, request_id: &'a str, instance: &'a str) -> Problem<'a> {
        let status = self.status();
        Problem {
            r#type: format!("urn:codex-gateway:problem:{}", self.code()),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &self.detail,
            instance,
            members: self.members(request_id),
        }
    }

    /// Returns the error object of a JSON-RPC 2.0 response (section 5.1).
    pub fn rpc(&self, request_id: &str) -> Value {
        let message = match &self.kind {
            Kind::Busy { .. } => "conversation busy",
            _ => self.detail.as_str(),
        };
        let mut data = json!(self.members(request_id));
        if let Some(members) = data.as_object_mut() {
            members.insert("detail".into(), self.detail.clone().into());
        }
        json!({ "code": self.rpc_code(), "message": message, "data": data })
    }

    fn members<'a>(&'a self, request_id: &'a str) -> Members<'a> {
        let (turn_id, oldest_seq) = match &self.kind {
            Kind::Busy { turn_id } => (Some(turn_id.as_str()), None),
            Kind::Gone { oldest_seq } => (None, Some(*oldest_seq)),
            _ => (None, None),
        };
        Members {
            extra: &self.extra,
            code: self.code(),
            request_id,
            retry: self.retry(),
            source: self.origin(),
            turn_id,
            oldest_seq,
        }
    }
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Problem<'a> {
    /// `urn:codex-gateway:problem:` and the code.
    r#type: String,
    /// The reason phrase of the status.
    title: &'a str,
    status: u16,
    /// The cause: `field: expected X, got Y; do Z`.
    detail: &'a str,
    /// The path of the request.
    instance: &'a str,
    #[serde(flatten)]
    members: Members<'a>,
}

/// The members that problem documents and the data of JSON-RPC errors have in common.
#[derive(Debug, Serialize, JsonSchema)]
struct Members<'a> {
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
    /// The stable name of the failure.
    code: &'static str,
    request_id: &'a str,
    retry: Retry,
    source: Origin,
    /// With `conversation_busy`: the running turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_id: Option<&'a str>,
    /// With `events_gone`: the oldest event that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_seq: Option<u64>,
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::Rejected(_) => Kind::InvalidRequest,
            EngineError::NotFound(_) => Kind::NotFound,
            EngineError::NoSpace(_) => Kind::Unavailable,
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
    fn problem_has_status_code_retry_and_source() {
        let error = Error::new(Kind::Busy { turn_id: "t1".into() }, "a turn is running");
        assert_eq!(
            json!(error.problem("r1", "/exec")),
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
