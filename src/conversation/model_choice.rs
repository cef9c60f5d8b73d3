//! The model and provider of a conversation: chosen by the request, preferred by the session's
//! login, or configured.

use codex_gateway_engine::EngineFacts;

use crate::bridge::built_in::BuiltIn;
use crate::bridge::demo;
use crate::error::Error;

/// The model and provider that a request chooses; `None` leaves the choice to the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelChoice {
    /// Model slug.
    pub model: Option<String>,
    /// Provider id.
    pub provider: Option<String>,
    /// The alias that the request named. `model` and `provider` are its target.
    pub alias: Option<String>,
}

impl ModelChoice {
    /// Whether the request leaves both open.
    pub(super) fn is_open(&self) -> bool {
        self.model.is_none() && self.provider.is_none()
    }

    /// The choice for a new conversation. `preferred` is the provider that the session has logged
    /// in to.
    ///
    /// # Errors
    /// `InvalidRequest` where the provider has no default model and the request names none.
    pub(super) fn for_start(
        &self,
        facts: &EngineFacts,
        preferred: Option<String>,
    ) -> Result<Self, Error> {
        let default = &facts.model_provider;
        let provider = self.provider.clone().or(preferred);
        let in_use = provider.as_deref().unwrap_or(default);
        if in_use == demo::ID {
            // The demo provider has one model. Clients that always name a model get it, too.
            return Ok(Self { model: None, provider, alias: None });
        }
        let mut model = self.model.clone();
        if model.is_none() && in_use != default {
            model = BuiltIn::find(in_use).map(|built_in| built_in.model.to_owned());
            // The engine refuses an unknown provider.
            let is_known = facts.model_providers.iter().any(|known| known == in_use);
            if model.is_none() && is_known && default == demo::ID {
                return Err(Error::invalid(format!(
                    "model: expected the name of a model of {in_use}, which has no default"
                )));
            }
        }
        Ok(Self { model, provider, alias: None })
    }

    /// Checks that the choice agrees with the provider of a conversation that has started.
    ///
    /// # Errors
    /// `InvalidRequest` where the request names another provider.
    pub(super) fn check_provider(&self, in_use: &str) -> Result<(), Error> {
        let Some(provider) = self.provider.as_deref().filter(|provider| *provider != in_use) else {
            return Ok(());
        };
        Err(Error::invalid(match &self.alias {
            Some(alias) => format!(
                "model: {alias:?} stands for {provider}/{}, and the conversation already uses \
                 {in_use}; a provider is chosen when it starts",
                self.model.as_deref().unwrap_or_default()
            ),
            None => format!(
                "model_provider: the conversation already uses {in_use}; a provider is chosen when it \
                 starts"
            ),
        }))
    }

    /// The model of a turn in a conversation of this provider.
    pub(super) fn for_turn(&self, in_use: &str) -> Option<String> {
        self.model.clone().filter(|_| in_use != demo::ID)
    }
}

#[cfg(test)]
mod tests {
    use codex_gateway_engine::children::Report as LimitsReport;
    use codex_gateway_engine::sandbox::Mechanism;
    use codex_gateway_engine::sandbox::Report;
    use codex_gateway_engine::sandbox::Tools;

    use super::*;

    fn choice(provider: Option<&str>, model: Option<&str>) -> ModelChoice {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        ModelChoice { model: owned(model), provider: owned(provider), alias: None }
    }

    #[test]
    fn request_wins_over_login_and_configuration() {
        let facts = |default: &str| EngineFacts {
            name: "test",
            model: "m".to_owned(),
            model_provider: default.to_owned(),
            model_providers: vec!["demo".to_owned(), "own".to_owned(), "other".to_owned()],
            sandbox: Report {
                mechanism: Mechanism::None,
                tools: Tools::On,
                detail: String::new(),
                fix: None,
            },
            limits: LimitsReport::none(),
        };
        let none = || choice(None, None);
        for (default, wanted, preferred, expected) in [
            ("own", none(), None, Some(none())),
            ("own", choice(None, Some("x")), None, Some(choice(None, Some("x")))),
            ("own", none(), Some("other"), Some(choice(Some("other"), None))),
            ("own", choice(Some("own"), None), Some("other"), Some(choice(Some("own"), None))),
            ("demo", choice(None, Some("x")), None, Some(none())),
            ("own", choice(Some("demo"), Some("x")), None, Some(choice(Some("demo"), None))),
            ("demo", choice(Some("other"), None), None, None),
            ("demo", choice(Some("unknown"), None), None, Some(choice(Some("unknown"), None))),
        ] {
            let chosen = wanted.for_start(&facts(default), preferred.map(str::to_owned)).ok();
            assert_eq!(chosen, expected, "{default} {wanted:?} {preferred:?}");
        }
    }

    #[test]
    fn another_provider_is_refused_by_its_name() {
        let alias =
            ModelChoice { alias: Some("fast".to_owned()), ..choice(Some("other"), Some("tiny")) };
        for (wanted, says) in [
            (choice(None, Some("x")), None),
            (choice(Some("own"), None), None),
            (choice(Some("other"), None), Some("model_provider: the conversation already uses")),
            (alias, Some("model: \"fast\" stands for other/tiny, and the conversation already")),
        ] {
            match (wanted.check_provider("own"), says) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => assert!(error.to_string().starts_with(says), "{error}"),
                (checked, _) => panic!("{wanted:?}: {checked:?}"),
            }
        }
    }
}
