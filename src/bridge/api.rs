//! The APIs of providers.

use codex_gateway_engine::codex as engine;
use serde::Deserialize;
use serde::Serialize;
use wires::Wire;
use wires::anthropic::Anthropic;
use wires::chat::Chat;
use wires::gemini::Gemini;

/// The API of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// The Responses API: bytes pass through.
    #[default]
    Responses,
    /// Chat Completions.
    Chat,
    /// Anthropic Messages.
    Anthropic,
    /// Google Gemini.
    Gemini,
}

impl Api {
    /// The wire that translates the API. `None` for the Responses API.
    pub fn wire(self) -> Option<&'static dyn Wire> {
        match self {
            Self::Responses => None,
            Self::Chat => Some(&Chat),
            Self::Anthropic => Some(&Anthropic),
            Self::Gemini => Some(&Gemini),
        }
    }

    /// The API as core must know it. The context window is that of the usual models: Claude's,
    /// Gemini's, and those of servers for open models.
    pub fn for_core(self) -> engine::Wire {
        let context_window = match self {
            Self::Responses => return engine::Wire::Responses,
            Self::Chat => 128_000,
            Self::Anthropic => 200_000,
            Self::Gemini => 1_048_576,
        };
        engine::Wire::Translated { context_window }
    }

    /// The value of `wire_api` in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Responses => "responses",
            Self::Chat => "chat",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// The header that carries the key, and the prefix of its value.
    pub(super) fn key_header(self) -> (&'static str, &'static str) {
        match self {
            Self::Responses | Self::Chat => ("authorization", "Bearer "),
            Self::Anthropic => ("x-api-key", ""),
            Self::Gemini => ("x-goog-api-key", ""),
        }
    }
}
