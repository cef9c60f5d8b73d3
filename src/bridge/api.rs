//! The APIs of providers.

use codex_gateway_engine::codex as engine;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use wires::Decoder;
use wires::Wire;
use wires::WireError;
use wires::anthropic::Anthropic;
use wires::chat::Chat;
use wires::gemini::Gemini;
use wires::responses;

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

    /// Returns the decoder of the answer of `provider` to `request`.
    pub(super) fn decoder(self, request: &Value, provider: &str) -> Box<dyn Decoder> {
        self.wire().map_or_else(responses::decoder, |wire| wire.decoder(request, provider))
    }

    /// Reads the body of an answer with an error status.
    pub(super) fn error(self, status: u16, body: &[u8]) -> WireError {
        match self.wire() {
            Some(wire) => wire.error(status, body),
            None => responses::error(status, body),
        }
    }

    /// Fits the path of a wire to a base URL that names a version of the API, or does not: users
    /// and the documentation of providers disagree on who adds it.
    pub(super) fn path<'a>(self, base_url: &str, path: &'a str) -> &'a str {
        let last = base_url.rsplit('/').next().unwrap_or_default();
        let version = match self {
            Self::Anthropic if is_version(last) => "/v1",
            // Vertex AI has the version in front.
            Self::Gemini if is_version(last) || base_url.contains("/publishers/") => "/v1beta",
            Self::Responses | Self::Chat | Self::Anthropic | Self::Gemini => return path,
        };
        path.strip_prefix(version).unwrap_or(path)
    }

    /// A second path to try where the first does not exist: a base URL without a version.
    pub(super) fn other_path(self, base_url: &str, path: &str) -> Option<String> {
        let has_version = base_url.split('/').skip(3).any(is_version);
        match self {
            Self::Responses | Self::Chat if !has_version => Some(format!("/v1{path}")),
            Self::Responses | Self::Chat | Self::Anthropic | Self::Gemini => None,
        }
    }

    /// Ends of a base URL that are the endpoint itself.
    pub(super) fn endpoints(self) -> &'static [&'static str] {
        match self {
            Self::Responses => &["/responses"],
            Self::Chat => &["/chat/completions"],
            Self::Anthropic => &["/messages"],
            Self::Gemini => &["/models"],
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

/// Whether a segment of a path is a version of an API: `v1`, `v1beta`, `v4`.
fn is_version(segment: &str) -> bool {
    let rest = segment.strip_prefix('v').unwrap_or_default();
    rest.starts_with(|c: char| c.is_ascii_digit())
        && rest.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_added_once() {
        let (messages, gemini) = ("/v1/messages", "/v1beta/models/m:streamGenerateContent");
        for (api, base_url, path, expected) in [
            (Api::Anthropic, "http://x", messages, "/v1/messages"),
            (Api::Anthropic, "http://x/v1", messages, "/messages"),
            (Api::Anthropic, "http://x/v1/gateway/anthropic", messages, "/v1/messages"),
            (Api::Gemini, "http://x", gemini, gemini),
            (Api::Gemini, "http://x/v1beta", gemini, "/models/m:streamGenerateContent"),
            (Api::Gemini, "http://x/v1", gemini, "/models/m:streamGenerateContent"),
            (Api::Chat, "http://x/v1", "/chat/completions", "/chat/completions"),
        ] {
            assert_eq!(api.path(base_url, path), expected, "{base_url}");
        }
        let other = |base_url| Api::Chat.other_path(base_url, "/chat/completions");
        assert_eq!(other("http://x").as_deref(), Some("/v1/chat/completions"));
        assert_eq!(other("http://v1.x/api").as_deref(), Some("/v1/chat/completions"));
        assert_eq!(other("http://x/v1"), None);
        assert_eq!(other("http://x/api/paas/v4"), None);
    }
}
