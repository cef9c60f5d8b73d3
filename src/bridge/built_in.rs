//! Providers that need no table, only a key.

use toml::Table;

use super::api::Api;

/// A provider that exists as soon as its key is set.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// The id in `model_providers`.
    pub id: &'static str,
    /// The variable of the key; empty if there is none.
    pub variable: &'static str,
    api: Api,
    base_url: &'static str,
    /// The model if none is configured.
    pub model: &'static str,
}

/// The built-in providers; the first whose key is set is the default.
pub const BUILT_IN: [BuiltIn; 4] = [
    BuiltIn {
        id: "openai",
        variable: "OPENAI_API_KEY",
        api: Api::Responses,
        base_url: "https://api.openai.com/v1",
        model: "gpt-5.1-codex",
    },
    BuiltIn {
        id: "anthropic",
        variable: "ANTHROPIC_API_KEY",
        api: Api::Anthropic,
        base_url: "https://api.anthropic.com",
        model: "claude-sonnet-4-5",
    },
    BuiltIn {
        id: "openrouter",
        variable: "OPENROUTER_API_KEY",
        api: Api::Responses,
        base_url: "https://openrouter.ai/api/v1",
        model: "openai/gpt-5.1",
    },
    BuiltIn {
        id: "google",
        variable: "GOOGLE_API_KEY",
        api: Api::Gemini,
        base_url: "https://generativelanguage.googleapis.com",
        model: "gemini-2.5-pro",
    },
];

/// ChatGPT's backend, as Codex calls it after a login with ChatGPT. It accepts a session's token
/// (`auth.login`) and has no variable: Codex itself handles the operator's own ChatGPT login.
pub const CHATGPT: BuiltIn = BuiltIn {
    id: "chatgpt",
    variable: "",
    api: Api::Responses,
    base_url: "https://chatgpt.com/backend-api/codex",
    model: "gpt-5.1-codex",
};

/// Servers on this machine, at Codex's default ports. They need no key, so nothing tells whether
/// they run. Codex calls them over the Responses API. Their Chat Completions are older and accept
/// tools for every model.
pub const LOCAL: [BuiltIn; 2] = [
    BuiltIn {
        id: "ollama",
        variable: "",
        api: Api::Chat,
        base_url: "http://localhost:11434/v1",
        model: "gpt-oss:20b",
    },
    BuiltIn {
        id: "lmstudio",
        variable: "",
        api: Api::Chat,
        base_url: "http://localhost:1234/v1",
        model: "openai/gpt-oss-20b",
    },
];

impl BuiltIn {
    /// Finds a provider by its id.
    pub fn find(id: &str) -> Option<&'static Self> {
        Self::keyless().find(|built_in| built_in.id == id)
    }

    /// The providers that may exist without an operator's key: a session brings one, or none is
    /// needed.
    pub fn keyless() -> impl Iterator<Item = &'static Self> {
        BUILT_IN.iter().chain([&CHATGPT]).chain(&LOCAL)
    }

    /// The table that the file would contain.
    pub fn table(&self) -> Table {
        let keys = [
            ("base_url", self.base_url),
            ("env_key", self.variable),
            ("wire_api", self.api.as_str()),
        ];
        let keys = keys.into_iter().filter(|(_, value)| !value.is_empty());
        let mut table: Table = keys.map(|(key, value)| (key.to_owned(), value.into())).collect();
        if self.id == CHATGPT.id {
            // The backend identifies clients by this name, which is Codex's own.
            let headers = Table::from_iter([("originator".to_owned(), "codex_cli_rs".into())]);
            table.insert("http_headers".to_owned(), headers.into());
        }
        table
    }
}
