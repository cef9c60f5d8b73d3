//! What a request chooses for its conversation.

use codex_gateway_engine::Approval;
use codex_gateway_engine::Sandbox;
use tracing::Span;

use super::handle::Conversation;
use super::model_choice::ModelChoice;
use crate::error::Error;

/// The choices of a request for its conversation; `None` leaves the choice to the gateway. A
/// conversation that has started keeps its folder and provider, and takes the rest for the
/// request's own turn only.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// A folder inside the workspace root, as the client wrote it.
    pub cwd: Option<String>,
    /// The model and its provider.
    pub model: ModelChoice,
    /// The sandbox of commands.
    pub sandbox: Option<Sandbox>,
    /// When core asks before it acts.
    pub approval_policy: Option<Approval>,
    /// The name of the caller's key.
    pub caller: String,
    /// The request's span: core's start of the conversation and the turn are traced below it.
    pub span: Span,
}

impl StartOptions {
    /// Options of a caller that chooses nothing.
    pub fn new(caller: &str) -> Self {
        Self {
            cwd: None,
            model: ModelChoice::default(),
            sandbox: None,
            approval_policy: None,
            caller: caller.to_owned(),
            span: Span::none(),
        }
    }

    /// Whether every choice is left to the gateway.
    pub(super) fn is_default(&self) -> bool {
        let Self { cwd, model, sandbox, approval_policy, caller: _, span: _ } = self;
        cwd.is_none() && model.is_open() && sandbox.is_none() && approval_policy.is_none()
    }
}

impl Conversation {
    /// Checks that a request to start this conversation chooses what it has already.
    ///
    /// # Errors
    /// `InvalidRequest` names the choice.
    pub fn check_settings(&self, options: &StartOptions) -> Result<(), Error> {
        options.model.check_provider(self.model_provider())?;
        let defaults = self.defaults();
        let taken = |field: &str, has: &str| {
            Error::invalid(format!(
                "{field}: expected {has}, which the conversation has already, or nothing; a prompt \
                 may choose another for its turn"
            ))
        };
        let model = options.model.for_turn(self.model_provider());
        if model.is_some_and(|model| model != defaults.model) {
            return Err(taken("model", &defaults.model));
        }
        if options.sandbox.is_some_and(|sandbox| sandbox != defaults.sandbox) {
            return Err(taken("sandbox", "the sandbox"));
        }
        if options.approval_policy.is_some_and(|policy| policy != defaults.approval_policy) {
            return Err(taken("approval_policy", "the policy"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_choice_makes_options_special() {
        let plain = StartOptions::new("ci");
        assert!(plain.is_default());
        let model = ModelChoice { model: Some("m".to_owned()), ..ModelChoice::default() };
        let provider = ModelChoice { provider: Some("p".to_owned()), ..ModelChoice::default() };
        for special in [
            StartOptions { cwd: Some("here".to_owned()), ..plain.clone() },
            StartOptions { model, ..plain.clone() },
            StartOptions { model: provider, ..plain.clone() },
            StartOptions { sandbox: Some(Sandbox::ReadOnly), ..plain.clone() },
            StartOptions { approval_policy: Some(Approval::Never), ..plain.clone() },
        ] {
            assert!(!special.is_default(), "{special:?}");
        }
    }
}
