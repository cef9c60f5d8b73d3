//! Which model answers where nobody names one.

use std::path::Path;

use crate::bridge::built_in::BUILT_IN;
use crate::bridge::built_in::BuiltIn;

/// Which model answers.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Nothing is configured: the demo model in this process.
    Demo,
    /// The key of a built-in provider is set, and nothing else chooses one.
    BuiltIn(&'static BuiltIn),
    /// What Codex's own configuration or login says.
    Codex,
}

impl Provider {
    /// Why this one, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Demo => "no model is configured: the built-in demo model answers".to_owned(),
            Self::BuiltIn(provider) => format!("{} is set", provider.variable),
            Self::Codex => "chosen by config.toml or a Codex login".to_owned(),
        }
    }
}

/// The demo model is chosen only when nothing else is: no provider in the file, no key, no login.
pub(super) fn choose(
    document: &toml::Table,
    env: &dyn Fn(&str) -> Option<String>,
    codex_home: &Path,
) -> Provider {
    let in_file =
        ["model_provider", "model_providers", "profile", "oss_provider", "openai_base_url"]
            .iter()
            .any(|key| document.contains_key(*key));
    let login = codex_home.join("auth.json").exists()
        || env("CODEX_API_KEY").is_some()
        || env("CODEX_ACCESS_TOKEN").is_some();
    if in_file || login {
        Provider::Codex
    } else {
        let built_in = BUILT_IN.iter().find(|provider| env(provider.variable).is_some());
        built_in.map_or(Provider::Demo, Provider::BuiltIn)
    }
}
