//! The settings of a turn: model, sandbox and approval policy.

use codex_gateway_engine::Approval;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use serde::Deserialize;
use serde::Serialize;

/// The model, sandbox and approval policy of a turn, or of a conversation's turns by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Model slug.
    pub model: String,
    /// The sandbox of commands.
    pub sandbox: Sandbox,
    /// When core asks before it acts.
    pub approval_policy: Approval,
}

impl Settings {
    /// Updates the settings that core last heard of to those of a prompt's turn. Leaves in the
    /// prompt only the choices that core must be told.
    ///
    /// Core keeps a prompt's choices for later turns. Here they hold for the prompt's own turn, so
    /// a choice that the prompt leaves open falls back to the conversation's `defaults`.
    pub(super) fn update(&mut self, prompt: &mut Prompt, defaults: &Self) {
        fn change<T: PartialEq + Clone>(current: &mut T, choice: &mut Option<T>, default: &T) {
            let next = choice.take().unwrap_or_else(|| default.clone());
            if *current != next {
                current.clone_from(&next);
                *choice = Some(next);
            }
        }
        change(&mut self.model, &mut prompt.model, &defaults.model);
        change(&mut self.sandbox, &mut prompt.sandbox, &defaults.sandbox);
        let approval_policy = &defaults.approval_policy;
        change(&mut self.approval_policy, &mut prompt.approval_policy, approval_policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_holds_for_one_turn() {
        let defaults = Settings {
            model: "m".to_owned(),
            sandbox: Sandbox::WorkspaceWrite,
            approval_policy: Approval::Never,
        };
        let mut settings = defaults.clone();
        let mut choosing = Prompt { sandbox: Some(Sandbox::ReadOnly), ..Prompt::default() };
        settings.update(&mut choosing, &defaults);
        assert_eq!(choosing.sandbox, Some(Sandbox::ReadOnly));
        assert_eq!(settings.sandbox, Sandbox::ReadOnly);

        let mut open = Prompt::default();
        settings.update(&mut open, &defaults);
        assert_eq!(open.sandbox, Some(Sandbox::WorkspaceWrite), "core is told to go back");
        assert_eq!(settings, defaults);

        let mut repeated = Prompt { model: Some("m".to_owned()), ..Prompt::default() };
        settings.update(&mut repeated, &defaults);
        assert_eq!(repeated.model, None, "core knows already");
    }
}
