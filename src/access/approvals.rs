//! Who may let an agent go ahead ([`may_approve`]), and what that may give the agent.

use crate::error::Error;
use crate::error::Kind;

/// The operator's rules for approvals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalRules {
    /// Whether agents may ask, and callers approve.
    pub allowed: bool,
    /// Whether an approval may give the agent more than its conversation's folder.
    pub outside_workspace: bool,
}

/// Checks that a caller may approve what an agent asks in a conversation of `owner`, which the caller may
/// use. Every door's approvals pass here.
///
/// # Errors
/// `Forbidden` if the operator does not permit approvals.
pub fn may_approve(rules: ApprovalRules, caller: &str, owner: Option<&str>) -> Result<(), Error> {
    tracing::debug!(caller, owner, allowed = rules.allowed, "approval");
    if rules.allowed {
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        format!(
            "decision: approvals are not permitted to the key {caller:?}; expected denied or abort, \
             or gateway.allow_approvals set by the operator"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_decides_who_may_approve() {
        for allowed in [true, false] {
            let rules = ApprovalRules { allowed, outside_workspace: false };
            assert_eq!(may_approve(rules, "ci", Some("ci")).is_ok(), allowed);
        }
    }
}
