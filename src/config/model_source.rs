//! [`ModelSource`]: which model answers requests that name none.

use std::path::Path;

use super::file::Env;
use crate::bridge::built_in::BUILT_IN;
use crate::bridge::built_in::BuiltIn;

/// The origin of the default model.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// Nothing is configured: the built-in demo model answers.
    Demo,
    /// The key of a built-in provider is set, and the file chooses no other.
    BuiltIn(&'static BuiltIn),
    /// Codex's own configuration or login decides.
    Codex,
}

impl ModelSource {
    /// Returns the reason, for operators.
    pub fn reason(&self) -> String {
        match self {
            Self::Demo => "no model is configured: the built-in demo model answers".to_owned(),
            Self::BuiltIn(provider) => format!("{} is set", provider.variable),
            Self::Codex => "chosen by config.toml or a Codex login".to_owned(),
        }
    }
}

/// Chooses the source. The demo model is the last resort: no provider in the file, no login, no
/// key.
pub(super) fn choose(document: &toml::Table, env: Env<'_>, codex_home: &Path) -> ModelSource {
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

/// Returns whether Codex has a login of its own.
fn has_login(env: Env<'_>, codex_home: &Path) -> bool {
    codex_gateway_engine::login::is_stored(codex_home)
        || env("CODEX_API_KEY").is_some()
        || env("CODEX_ACCESS_TOKEN").is_some()
}

/// Returns the provider that Codex calls itself, with its own login. The bridge must not replace
/// it.
pub(super) fn called_by_codex(
    document: &toml::Table,
    env: Env<'_>,
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
