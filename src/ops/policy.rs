//! What the operator permits: requests that ask for more are refused as `Forbidden`.

use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;

use crate::config::Config;
use crate::error::Error;
use crate::error::Kind;

/// Checks that a request may choose this sandbox.
///
/// # Errors
/// `Forbidden` for danger-full-access without `gateway.allow_danger_full_access`.
pub(crate) fn allow_sandbox(config: &Config, sandbox: Option<Sandbox>) -> Result<(), Error> {
    if sandbox == Some(Sandbox::DangerFullAccess) && !config.allow_danger_full_access {
        return Err(Error::new(
            Kind::Forbidden,
            "sandbox: danger-full-access needs gateway.allow_danger_full_access; expected \
             read-only or workspace-write",
        ));
    }
    Ok(())
}

/// Checks that a request may choose this approval policy.
///
/// # Errors
/// `Forbidden` for any but never without `gateway.allow_approvals`.
pub(crate) fn allow_approvals(config: &Config, policy: Option<Approval>) -> Result<(), Error> {
    if !matches!(policy, None | Some(Approval::Never)) && !config.approvals.allowed {
        return Err(Error::new(
            Kind::Forbidden,
            "approval_policy: on-request and untrusted need gateway.allow_approvals = true, which is the \
             default only without API keys; expected never",
        ));
    }
    Ok(())
}

/// Checks that a request may read the events that carry the system prompt.
///
/// # Errors
/// `Forbidden` without `gateway.allow_raw_events`.
pub(crate) fn allow_raw_events(config: &Config, raw_events: bool) -> Result<(), Error> {
    if raw_events && !config.allow_raw_events {
        return Err(Error::new(
            Kind::Forbidden,
            "raw_events: these events carry the system prompt and need gateway.allow_raw_events",
        ));
    }
    Ok(())
}
