//! Failures of a wire, with the codes that core reads in a `response.failed` event.

use std::fmt;

/// The cause of a failed model call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// The kind of the failure, for core and the metrics.
    pub code: Code,
    /// The cause, with the name of the provider's API.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// The kind of a failure. Core ends the turn on some codes and repeats the call on all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request or its answer exceeds the model's context window.
    ContextLength,
    /// A cyber policy of the provider forbids the request.
    CyberPolicy,
    /// The request cannot be sent, or must not be repeated unchanged. Rejected keys are here too.
    InvalidPrompt,
    /// The stream violates the API.
    InvalidStream,
    /// The account's plan does not include the model.
    NotIncluded,
    /// The provider is overloaded. Core treats this as final.
    Overloaded,
    /// The account has no quota left.
    Quota,
    /// The account sends too many requests.
    RateLimited,
    /// The provider failed for a reason of its own.
    ServerError,
    /// The stream ended before the answer did.
    Truncated,
}

impl Code {
    /// The code on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContextLength => "context_length_exceeded",
            Self::CyberPolicy => "cyber_policy",
            Self::InvalidPrompt => "invalid_prompt",
            Self::InvalidStream => "invalid_stream",
            Self::NotIncluded => "usage_not_included",
            Self::Overloaded => "server_is_overloaded",
            Self::Quota => "insufficient_quota",
            Self::RateLimited => "rate_limit_exceeded",
            Self::ServerError => "server_error",
            Self::Truncated => "stream_cut",
        }
    }

    /// Whether the same request may succeed later.
    fn is_retryable(self) -> bool {
        match self {
            Self::InvalidStream
            | Self::Overloaded
            | Self::RateLimited
            | Self::ServerError
            | Self::Truncated => true,
            Self::ContextLength
            | Self::CyberPolicy
            | Self::InvalidPrompt
            | Self::NotIncluded
            | Self::Quota => false,
        }
    }
}

impl WireError {
    /// A failure that is retryable if its code is.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.is_retryable() }
    }

    /// A request that `api` cannot express.
    pub(crate) fn invalid_request(api: &str, problem: impl fmt::Display) -> Self {
        Self::new(Code::InvalidPrompt, format!("{api}: {problem}"))
    }

    /// A stream that violates `api`.
    pub(crate) fn invalid_stream(api: &str, defect: impl fmt::Display) -> Self {
        Self::new(Code::InvalidStream, format!("{api}: {defect}"))
    }
}
