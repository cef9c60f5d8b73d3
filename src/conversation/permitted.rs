//! [`Permitted`]: what the operator permits conversations today. A recorded conversation that began under
//! another rule is reduced to it when it is loaded or forked, and says so.

use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::sessions::StoredConversation;

/// The settings that the operator permits.
#[derive(Debug, Clone, Copy)]
pub struct Permitted {
    /// `gateway.allow_danger_full_access`
    pub danger_full_access: bool,
    /// `gateway.allow_approvals`
    pub approvals: bool,
}

/// A setting of a recorded conversation that the operator does not permit any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReducedSetting {
    /// `sandbox` or `approval_policy`.
    pub setting: &'static str,
    /// The value that the conversation began with.
    pub recorded: Value,
    /// The value that holds instead.
    pub now: Value,
    /// The key of the configuration that would permit the recorded value.
    pub needs: &'static str,
}

impl Permitted {
    /// Reduces the settings of a recorded conversation to what is permitted. Returns those reduced.
    pub(super) fn reduce(self, stored: &mut StoredConversation) -> Vec<ReducedSetting> {
        let mut reduced = Vec::new();
        let settings = &mut stored.defaults;
        if settings.sandbox == Sandbox::DangerFullAccess && !self.danger_full_access {
            let recorded = std::mem::replace(&mut settings.sandbox, Sandbox::WorkspaceWrite);
            reduced.push(ReducedSetting {
                setting: "sandbox",
                recorded: value(&recorded),
                now: value(&settings.sandbox),
                needs: "gateway.allow_danger_full_access",
            });
        }
        if settings.approval_policy != Approval::Never && !self.approvals {
            let recorded = std::mem::replace(&mut settings.approval_policy, Approval::Never);
            reduced.push(ReducedSetting {
                setting: "approval_policy",
                recorded: value(&recorded),
                now: value(&settings.approval_policy),
                needs: "gateway.allow_approvals",
            });
        }
        reduced
    }
}

fn value(setting: &impl Serialize) -> Value {
    serde_json::to_value(setting).unwrap_or_default()
}

/// The event that announces reduced settings. Written by hand because readers of the log expect the
/// tag first.
pub(super) fn event(reduced: &[ReducedSetting]) -> String {
    format!(
        r#"{{"id":"","msg":{{"type":"gateway_settings_reduced","settings":{}}}}}"#,
        value(&reduced)
    )
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::super::id::ConversationId;
    use super::super::id::SessionId;
    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn only_what_is_not_permitted_is_reduced() {
        use Approval::Never;
        use Approval::OnRequest;
        use Approval::Untrusted;
        use Sandbox::DangerFullAccess;
        use Sandbox::ReadOnly;
        use Sandbox::WorkspaceWrite;

        for (permitted, recorded, expected, count) in [
            ((false, false), (DangerFullAccess, OnRequest), (WorkspaceWrite, Never), 2),
            ((false, false), (ReadOnly, Untrusted), (ReadOnly, Never), 1),
            ((false, true), (DangerFullAccess, Untrusted), (WorkspaceWrite, Untrusted), 1),
            ((true, false), (DangerFullAccess, OnRequest), (DangerFullAccess, Never), 1),
            ((true, true), (DangerFullAccess, OnRequest), (DangerFullAccess, OnRequest), 0),
            ((false, false), (WorkspaceWrite, Never), (WorkspaceWrite, Never), 0),
        ] {
            let (sandbox, approval_policy) = recorded;
            let mut stored = StoredConversation {
                session_id: SessionId::generate(),
                conversation_id: ConversationId::new("01234567-89ab-7def-8123-456789abcdef"),
                cwd: "/w".into(),
                defaults: Settings { model: "m".to_owned(), sandbox, approval_policy },
                model_provider: "p".to_owned(),
                owner: None,
                created_at: Utc::now(),
                archived: false,
            };
            let (danger_full_access, approvals) = permitted;
            let reduced = Permitted { danger_full_access, approvals }.reduce(&mut stored);
            let now = (stored.defaults.sandbox, stored.defaults.approval_policy);
            assert_eq!((now, reduced.len()), (expected, count), "{permitted:?} {recorded:?}");
        }
    }
}
