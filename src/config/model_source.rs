//! Which model answers where nobody names one.

use std::path::Path;

use crate::bridge::built_in::BUILT_IN;
use crate::bridge::built_in::BuiltIn;

/// Which model answers.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// Nothing is configured: the demo model in this process.
    Demo,
    /// The key of a built-in provider is set, and nothing else chooses one.
    BuiltIn(&'static BuiltIn),
    /// What Codex's own configuration or login says.
    Codex,
}

impl ModelSource {
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
) -> ModelSource {
    let in_file =
        ["model_provider", "model_providers", "profile", "oss_provider", "openai_base_url"]
            .iter()
            .any(|key| document.contains_key(*key));
    if in_file || has_login(env, codex_home) {
        ModelSource::Codex
    } else {
        let built_in = BUILT_IN.iter().find(|provider| env(provider.variable).is_some());
        built_in.map_or(ModelSource::Demo, ModelSource::BuiltIn)
    }
}

/// Somebody has logged Codex itself in.
fn has_login(env: &dyn Fn(&str) -> Option<String>, codex_home: &Path) -> bool {
    codex_home.join("auth.json").exists()
        || env("CODEX_API_KEY").is_some()
        || env("CODEX_ACCESS_TOKEN").is_some()
}

/// The provider that Codex calls itself, with a login of its own: the bridge must not take its place.
pub(super) fn codexs_own(
    document: &toml::Table,
    env: &dyn Fn(&str) -> Option<String>,
    codex_home: &Path,
) -> Option<&'static str> {
    let chosen = document.get("model_provider").and_then(toml::Value::as_str);
    let may_be_used = document.contains_key("profile")
        || document.contains_key("openai_base_url")
        || chosen.is_none_or(|chosen| chosen == "openai")
        || has_login(env, codex_home);
    let chosen = choose(document, env, codex_home);
    (matches!(chosen, ModelSource::Codex) && may_be_used).then_some("openai")
}
