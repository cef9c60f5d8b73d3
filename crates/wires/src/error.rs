//! Failures of a wire, with one list of codes for all of them.

use std::fmt;
use std::time::Duration;

/// The cause of a failed model call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// The kind of the failure.
    pub code: Code,
    /// The cause, with the name of the provider's API.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// How long the provider asks to wait before that.
    pub retry_after: Option<Duration>,
}

/// The kind of a failure, the same on every wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The provider rejects the key, or the key may not use the model.
    Authentication,
    /// A filter of the provider rejects the prompt.
    ContentFilter,
    /// The request or its answer exceeds the model's context window.
    ContextLength,
    /// A cyber policy of the provider forbids the request.
    CyberPolicy,
    /// The request cannot be sent, or must not be repeated unchanged.
    InvalidRequest,
    /// The stream violates the API.
    InvalidStream,
    /// The provider has no such model.
    ModelNotFound,
    /// The account's plan does not include the model.
    NotIncluded,
    /// The provider is overloaded.
    Overloaded,
    /// The account has no quota left.
    Quota,
    /// The account sends too many requests.
    RateLimited,
    /// The provider failed for a reason of its own.
    ServerError,
    /// The provider did not answer in time.
    Timeout,
    /// The stream ended before the answer did.
    Truncated,
    /// The provider could not be reached.
    Unreachable,
}

impl Code {
    /// The code for clients, records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::ContentFilter => "content_filter",
            Self::ContextLength => "context_length",
            Self::CyberPolicy => "cyber_policy",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidStream => "invalid_stream",
            Self::ModelNotFound => "model_not_found",
            Self::NotIncluded => "not_included",
            Self::Overloaded => "overloaded",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Truncated => "stream_cut",
            Self::Unreachable => "unreachable",
        }
    }

    /// The code in a `response.failed` event. Core has a category for some codes, ends the turn
    /// with the message on `invalid_prompt`, and repeats the call on all codes that it does not
    /// know. Its own code for an overload is final and has no message, so none is sent.
    pub fn for_core(self) -> &'static str {
        match self {
            Self::ContextLength => "context_length_exceeded",
            Self::CyberPolicy => "cyber_policy",
            Self::NotIncluded => "usage_not_included",
            Self::Quota => "insufficient_quota",
            Self::RateLimited => "rate_limit_exceeded",
            Self::Authentication
            | Self::ContentFilter
            | Self::InvalidRequest
            | Self::ModelNotFound => "invalid_prompt",
            Self::InvalidStream => "invalid_stream",
            Self::Overloaded | Self::ServerError | Self::Timeout => "server_error",
            Self::Truncated | Self::Unreachable => "stream_cut",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::InvalidStream
            | Self::Overloaded
            | Self::RateLimited
            | Self::ServerError
            | Self::Timeout
            | Self::Truncated
            | Self::Unreachable => true,
            Self::Authentication
            | Self::ContentFilter
            | Self::ContextLength
            | Self::CyberPolicy
            | Self::InvalidRequest
            | Self::ModelNotFound
            | Self::NotIncluded
            | Self::Quota => false,
        }
    }
}

impl WireError {
    /// A failure that is retryable if its code is.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (message, retryable) = (message.into(), code.is_retryable());
        Self { code, message, retryable, retry_after: None }
    }

    /// A request that `api` cannot express.
    pub(crate) fn invalid_request(api: &str, problem: impl fmt::Display) -> Self {
        Self::new(Code::InvalidRequest, format!("{api}: {problem}"))
    }

    /// A stream that violates `api`.
    pub(crate) fn invalid_stream(api: &str, defect: impl fmt::Display) -> Self {
        Self::new(Code::InvalidStream, format!("{api}: {defect}"))
    }
}
