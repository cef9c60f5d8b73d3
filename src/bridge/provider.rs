//! What is configured of a provider.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use http::HeaderName;
use http::HeaderValue;
use http::Uri;
use serde::Deserialize;

use super::wire::Wire;
use super::wire::anthropic::Anthropic;
use super::wire::chat::Chat;
use super::wire::gemini::Gemini;

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// The Responses API: bytes are passed through.
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
    /// Its wire; none where nothing is translated.
    pub fn wire(self) -> Option<&'static dyn Wire> {
        match self {
            Self::Responses => None,
            Self::Chat => Some(&Chat),
            Self::Anthropic => Some(&Anthropic),
            Self::Gemini => Some(&Gemini),
        }
    }

    /// The header that carries the key, and what stands before the key.
    fn key_header(self) -> (&'static str, &'static str) {
        match self {
            Self::Responses | Self::Chat => ("authorization", "Bearer "),
            Self::Anthropic => ("x-api-key", ""),
            Self::Gemini => ("x-goog-api-key", ""),
        }
    }
}

/// `[model_providers.NAME]` as it is written: Codex's keys, where `wire_api` takes more.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Written {
    base_url: Option<String>,
    env_key: Option<String>,
    experimental_bearer_token: Option<String>,
    #[serde(default)]
    wire_api: Api,
    #[serde(default)]
    query_params: BTreeMap<String, String>,
    #[serde(default)]
    http_headers: BTreeMap<String, String>,
    #[serde(default)]
    env_http_headers: BTreeMap<String, String>,
    request_max_retries: Option<u32>,
    stream_idle_timeout_ms: Option<u64>,
    #[serde(default)]
    requires_openai_auth: bool,
    auth: Option<toml::Value>,
    aws: Option<toml::Value>,
    /// It is a built-in one.
    #[serde(skip)]
    built_in: bool,
}

/// A provider, resolved.
#[derive(Clone)]
pub struct Provider {
    /// Its id in `model_providers`.
    pub id: String,
    /// It has a table in the file.
    pub in_file: bool,
    /// How it is spoken to.
    pub api: Api,
    /// Without a slash at its end.
    pub base_url: String,
    /// Appended to every URL, encoded.
    pub query: String,
    /// Sent with every request, the key among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How often a request that failed before its first byte is sent again.
    pub retries: u32,
    /// How long a stream may pause.
    pub idle: Duration,
}

impl fmt::Debug for Provider {
    /// Without the headers: they hold the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("id", &self.id)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// Takes the provider's secrets out of a text: some echo the key that they refuse.
    pub fn redact(&self, text: String) -> String {
        let secrets = self.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        secrets
            .map(|value| value.strip_prefix("Bearer ").unwrap_or(value))
            .filter(|secret| secret.len() >= 8)
            .fold(text, |text, secret| text.replace(secret, "****"))
    }
}

/// A provider that is there as soon as its key is.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Its id in `model_providers`.
    pub id: &'static str,
    /// The variable that holds its key.
    pub variable: &'static str,
    api: Api,
    base_url: &'static str,
    /// The model where none is configured.
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

impl BuiltIn {
    /// As it would be written in the file.
    pub fn written(&self) -> Written {
        Written {
            base_url: Some(self.base_url.to_owned()),
            env_key: Some(self.variable.to_owned()),
            wire_api: self.api,
            built_in: true,
            ..Written::default()
        }
    }
}

impl Written {
    /// Whether the bridge can stand in for core: core has its own ways of logging in to the rest.
    pub fn is_bridged(&self) -> bool {
        self.base_url.is_some()
            && !self.requires_openai_auth
            && self.auth.is_none()
            && self.aws.is_none()
    }

    /// Resolves it. A key that is not set shows when the provider is called.
    ///
    /// # Errors
    /// A URL or a header is malformed; the message names the key.
    pub fn resolve(
        &self,
        id: &str,
        env: &dyn Fn(&str) -> Option<String>,
        max_retries: Option<u32>,
    ) -> anyhow::Result<Provider> {
        let base_url = self.base_url.clone().unwrap_or_default();
        let base_url = base_url.trim_end_matches('/').to_owned();
        let url = || {
            format!("model_providers.{id}.base_url is {base_url:?}; it takes an http or https URL")
        };
        let parsed: Uri = base_url.parse().with_context(url)?;
        if parsed.host().is_none() || !matches!(parsed.scheme_str(), Some("http" | "https")) {
            bail!(url());
        }
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| -> anyhow::Result<()> {
            let name = HeaderName::from_bytes(name.as_bytes())
                .with_context(|| format!("model_providers.{id}: {name:?} is no header name"))?;
            let mut value = HeaderValue::from_str(value).with_context(|| {
                format!("model_providers.{id}: the value of {name} is no header value")
            })?;
            value.set_sensitive(true);
            headers.push((name, value));
            Ok(())
        };
        let key = self.env_key.as_deref().and_then(env).or(self.experimental_bearer_token.clone());
        if let Some(key) = key {
            let (name, before) = self.wire_api.key_header();
            add(name, &format!("{before}{}", key.trim()))?;
        }
        for (name, value) in &self.http_headers {
            add(name, value)?;
        }
        for (name, variable) in &self.env_http_headers {
            if let Some(value) = env(variable) {
                add(name, &value)?;
            }
        }
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let query: Vec<String> = self
            .query_params
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        Ok(Provider {
            id: id.to_owned(),
            in_file: !self.built_in,
            api: self.wire_api,
            base_url,
            query: query.join("&"),
            headers,
            retries: max_retries.or(self.request_max_retries).unwrap_or(4),
            idle: Duration::from_millis(self.stream_idle_timeout_ms.unwrap_or(300_000)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_resolved_and_its_key_never_shown() {
        let written: Written = toml::from_str(
            "base_url = \"https://x.example/v1/\"\nenv_key = \"K\"\nwire_api = \"chat\"\n\
             query_params = { \"api-version\" = \"2025-04-01\" }\nhttp_headers = { \"x-a\" = \"b\" }\n",
        )
        .unwrap();
        let provider = written.resolve("x", &|_| Some(" canary ".into()), None).unwrap();
        assert_eq!((provider.api, provider.base_url.as_str()), (Api::Chat, "https://x.example/v1"));
        assert_eq!(provider.query, "api%2Dversion=2025%2D04%2D01");
        assert_eq!(provider.headers[0].1.as_bytes(), b"Bearer canary");
        assert!(!format!("{provider:?} {:?}", provider.headers).contains("canary"));
    }

    #[test]
    fn a_bad_url_is_named() {
        for url in ["", "x.example", "ftp://x.example", "http://"] {
            let written = Written { base_url: Some(url.into()), ..Written::default() };
            let error = written.resolve("mine", &|_| None, None).unwrap_err();
            assert!(error.to_string().contains("model_providers.mine.base_url"), "{error}");
        }
    }
}
