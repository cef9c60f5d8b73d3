//! Stands in for `codex-feedback`: collects nothing.
//!
//! The original keeps a ring of log lines and uploads it to Sentry when a person at a terminal
//! reports a problem. A gateway has no such person and must not upload what its clients did; core
//! itself only notes facts of each model request for such a report. Left out with it: sentry and the
//! crates below it.

use codex_login::AuthEnvTelemetry;

/// Facts of a model request that a report would have held.
#[derive(Debug)]
pub struct FeedbackRequestTags<'a> {
    /// The endpoint that was called.
    pub endpoint: &'a str,
    /// Whether the request carried a credential.
    pub auth_header_attached: bool,
    /// The header that carried it.
    pub auth_header_name: Option<&'a str>,
    /// The way of logging in.
    pub auth_mode: Option<&'a str>,
    /// Whether the request was repeated after a 401.
    pub auth_retry_after_unauthorized: Option<bool>,
    /// How a login was recovered.
    pub auth_recovery_mode: Option<&'a str>,
    /// How far the recovery got.
    pub auth_recovery_phase: Option<&'a str>,
    /// Whether the connection had been used before.
    pub auth_connection_reused: Option<bool>,
    /// The provider's id of the request.
    pub auth_request_id: Option<&'a str>,
    /// The id of the proxy in front of the provider.
    pub auth_cf_ray: Option<&'a str>,
    /// The provider's error.
    pub auth_error: Option<&'a str>,
    /// The provider's code of the error.
    pub auth_error_code: Option<&'a str>,
    /// Whether the repeated request succeeded.
    pub auth_recovery_followup_success: Option<bool>,
    /// The status of the repeated request.
    pub auth_recovery_followup_status: Option<u16>,
}

/// Drops the facts of a request.
pub fn emit_feedback_request_tags_with_auth_env(
    _tags: &FeedbackRequestTags<'_>,
    _environment: &AuthEnvTelemetry,
) {
}
