//! The configuration of a provider.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use http::HeaderName;
use http::HeaderValue;
use http::Uri;
use serde::Deserialize;
use serde::Serialize;
use wires::Quirks;

use super::api::Api;
use super::built_in::CHATGPT;
use crate::range;
use crate::tls;

/// The retries that a provider may have. Core counts no more than a hundred either.
const RETRIES: RangeInclusive<u32> = 0..=100;
const STREAM_RETRIES: RangeInclusive<u64> = 0..=100;
/// The output tokens that a request may ask for.
const MAX_TOKENS: RangeInclusive<u64> = 1..=1_000_000_000;
/// Core's retries after a stream broke off, unless they are set.
const DEFAULT_STREAM_RETRIES: u64 = 2;

/// A table of `[model_providers]` or `[gateway.providers]`: Codex's keys, with more values for
/// `wire_api`, and the gateway's own.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct ProviderConfig {
    name: Option<String>,
    base_url: Option<String>,
    env_key: Option<String>,
    experimental_bearer_token: Option<String>,
    wire_api: Option<Api>,
    #[serde(default)]
    query_params: BTreeMap<String, String>,
    #[serde(default)]
    http_headers: BTreeMap<String, String>,
    #[serde(default)]
    env_http_headers: BTreeMap<String, String>,
    request_max_retries: Option<u32>,
    stream_max_retries: Option<u64>,
    stream_idle_timeout_ms: Option<u64>,
    max_concurrent: Option<usize>,
    max_waiting: Option<usize>,
    connect_timeout_ms: Option<u64>,
    first_byte_timeout_ms: Option<u64>,
    quirks: Option<Quirks>,
    ca_file: Option<PathBuf>,
    /// Logins that only core supports, as `auth` and `aws` are.
    #[serde(default, skip_serializing)]
    requires_openai_auth: bool,
    #[serde(skip_serializing)]
    auth: Option<toml::Value>,
    #[serde(skip_serializing)]
    aws: Option<toml::Value>,
}

/// The environment in which a table is resolved.
#[derive(Clone, Copy)]
pub struct ResolveContext<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder of the configuration file, to which its paths are relative.
    pub folder: &'a Path,
    /// `CODEX_MAX_RETRIES`.
    pub max_retries: Option<u32>,
}

impl fmt::Debug for ResolveContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolveContext").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A resolved provider.
#[derive(Clone)]
pub struct Provider {
    /// The id in `model_providers`.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The API.
    pub api: Api,
    /// The base URL, without a trailing slash.
    pub base_url: String,
    /// Encoded query parameters, appended to every URL.
    pub query: String,
    /// Headers of every request, the key among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Retries of a request that failed before its first byte.
    pub retries: u32,
    /// Core's retries after a stream broke off.
    pub stream_retries: u64,
    /// The longest pause within a stream.
    pub idle: Duration,
    /// The most concurrent calls.
    pub max_concurrent: usize,
    /// The most calls in the queue.
    pub max_waiting: usize,
    /// The timeout of a connection.
    pub connect_timeout: Duration,
    /// The timeout until an answer begins.
    pub first_byte_timeout: Duration,
    /// The quirks that the operator set.
    pub quirks: Quirks,
    /// Additional root certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// The variables that hold its secrets.
    pub secrets: Vec<String>,
    /// Whether it rejects calls without a key.
    pub wants_key: bool,
    /// The variable of its key.
    pub key_variable: Option<String>,
    /// The header that carries the key, and the prefix of its value.
    pub key_header: (HeaderName, &'static str),
    /// The headers whose values come from the environment.
    pub secret_headers: Vec<HeaderName>,
}

impl fmt::Debug for Provider {
    /// Omits the headers, which hold the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("id", &self.id)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// Whether the provider requires a key and the operator set none.
    pub fn lacks_key(&self) -> bool {
        self.wants_key && !self.headers.iter().any(|(name, _)| *name == self.key_header.0)
    }

    /// The host of its base URL.
    pub fn host(&self) -> &str {
        let (_, rest) = self.base_url.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }

    /// Removes the provider's secrets from a text: some providers echo the key that they reject.
    pub fn redact(&self, text: String) -> String {
        let secrets = self.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        secrets
            .map(|value| value.strip_prefix("Bearer ").unwrap_or(value))
            .filter(|secret| secret.len() >= 8)
            .fold(text, |text, secret| text.replace(secret, "****"))
    }
}

impl ProviderConfig {
    /// The keys, in order, without those for providers that core calls itself.
    pub fn keys() -> Vec<String> {
        let all = serde_json::to_value(Self::default()).expect("its keys are strings");
        all.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    /// Whether the bridge can call the provider. The others need a login that only core supports.
    pub fn is_bridged(&self) -> bool {
        self.base_url.is_some()
            && !self.requires_openai_auth
            && self.auth.is_none()
            && self.aws.is_none()
    }

    /// Resolves the table. A missing key is reported when the provider is called.
    ///
    /// # Errors
    /// A value is invalid. The message names its key, within the table `place`.
    // Long: one field of `Provider` after another.
    pub fn resolve(
        &self,
        id: &str,
        place: &str,
        context: &ResolveContext<'_>,
    ) -> anyhow::Result<Provider> {
        let ResolveContext { env, folder, max_retries } = *context;
        let ca_file = self.ca_file.as_ref().map(|path| folder.join(path));
        if let Some(path) = &ca_file {
            tls::certificates(path).with_context(|| format!("{place}.ca_file"))?;
        }
        let api = self.wire_api.unwrap_or_default();
        let key = |key: &str| format!("{place}.{key}");
        let millis = |name, value, default| range::millis(key(name), value, default);
        let variables = self.env_key.iter().chain(self.env_http_headers.values());
        Ok(Provider {
            id: id.to_owned(),
            name: self.name.clone().unwrap_or_else(|| id.to_owned()),
            api,
            base_url: self.base_url(place, api)?,
            query: self.query(),
            headers: self.headers(api, place, env)?,
            retries: match max_retries {
                Some(_) => range::within("CODEX_MAX_RETRIES", max_retries, RETRIES, 0)?,
                None => {
                    range::within(key("request_max_retries"), self.request_max_retries, RETRIES, 4)?
                }
            },
            stream_retries: range::within(
                key("stream_max_retries"),
                self.stream_max_retries,
                STREAM_RETRIES,
                DEFAULT_STREAM_RETRIES,
            )?,
            idle: millis("stream_idle_timeout_ms", self.stream_idle_timeout_ms, 300_000)?,
            max_concurrent: range::within(
                key("max_concurrent"),
                self.max_concurrent,
                1..=range::MAX_COUNT,
                64,
            )?,
            max_waiting: range::within(
                key("max_waiting"),
                self.max_waiting,
                0..=range::MAX_COUNT,
                1024,
            )?,
            connect_timeout: millis("connect_timeout_ms", self.connect_timeout_ms, 10_000)?,
            first_byte_timeout: millis(
                "first_byte_timeout_ms",
                self.first_byte_timeout_ms,
                120_000,
            )?,
            quirks: self.quirks(place)?,
            ca_file,
            secrets: variables.cloned().collect(),
            wants_key: self.env_key.is_some() || id == CHATGPT.id,
            key_variable: self.env_key.clone(),
            key_header: self.key_header(api),
            secret_headers: self
                .env_http_headers
                .keys()
                .filter_map(|name| name.parse().ok())
                .collect(),
        })
    }

    fn quirks(&self, place: &str) -> anyhow::Result<Quirks> {
        let quirks = self.quirks.clone().unwrap_or_default();
        range::within(format!("{place}.quirks.max_tokens"), quirks.max_tokens, MAX_TOKENS, 0)?;
        Ok(quirks)
    }

    fn base_url(&self, place: &str, api: Api) -> anyhow::Result<String> {
        let base_url = self.base_url.as_deref().unwrap_or_default().trim_end_matches('/');
        // Some documentation names the endpoint.
        let above = api.endpoints().iter().find_map(|end| base_url.strip_suffix(end));
        let base_url = above.unwrap_or(base_url);
        let url = || format!("{place}.base_url is {base_url:?}; it takes an http or https URL");
        // A URL that may hold a secret is not quoted.
        if base_url.contains(['@', '?', '#']) {
            bail!(
                "{place}.base_url takes a URL without a user and without a query; expected http_headers \
                 or query_params for these"
            );
        }
        let parsed: Uri = base_url.parse().with_context(url)?;
        if parsed.host().is_none() || !matches!(parsed.scheme_str(), Some("http" | "https")) {
            bail!(url());
        }
        Ok(base_url.to_owned())
    }

    fn headers(
        &self,
        api: Api,
        place: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| -> anyhow::Result<()> {
            let name = HeaderName::from_bytes(name.as_bytes())
                .with_context(|| format!("{place}: {name:?} is no header name"))?;
            let mut value = HeaderValue::from_str(value)
                .with_context(|| format!("{place}: the value of {name} is no header value"))?;
            value.set_sensitive(true);
            headers.push((name, value));
            Ok(())
        };
        let key = self.env_key.as_deref().and_then(env).or(self.experimental_bearer_token.clone());
        if let Some(key) = key {
            let (name, before) = api.key_header();
            add(name, &format!("{before}{}", key.trim()))?;
        }
        for (name, value) in &self.http_headers {
            add(name, value)?;
        }
        for (name, variable) in &self.env_http_headers {
            if let Some(value) = env(variable) {
                add(name, value.trim())?;
            }
        }
        Ok(headers)
    }

    /// The header for a key. A provider without `env_key` and with one secret header of its own,
    /// such as Azure's `api-key`, has the key there.
    fn key_header(&self, api: Api) -> (HeaderName, &'static str) {
        let mut own = self.env_http_headers.keys();
        if self.env_key.is_none()
            && let (Some(name), None) = (own.next(), own.next())
            && let Ok(name) = name.parse()
        {
            return (name, "");
        }
        let (name, before) = api.key_header();
        (HeaderName::from_static(name), before)
    }

    fn query(&self) -> String {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let query: Vec<String> = self
            .query_params
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        query.join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(env: &dyn Fn(&str) -> Option<String>) -> ResolveContext<'_> {
        ResolveContext { env, folder: Path::new("/"), max_retries: None }
    }

    #[test]
    fn resolved_provider_never_shows_its_key() {
        let config: ProviderConfig = toml::from_str(
            "base_url = \"https://x.example/v1/\"\nenv_key = \"K\"\nwire_api = \"chat\"\n\
             query_params = { \"api-version\" = \"2025-04-01\" }\nhttp_headers = { \"x-a\" = \"b\" }\n",
        )
        .unwrap();
        let provider = config
            .resolve("x", "model_providers.x", &context(&|_| Some(" canary ".into())))
            .unwrap();
        assert_eq!((provider.api, provider.base_url.as_str()), (Api::Chat, "https://x.example/v1"));
        assert_eq!(provider.query, "api%2Dversion=2025%2D04%2D01");
        assert_eq!(provider.headers[0].1.as_bytes(), b"Bearer canary");
        assert!(!format!("{provider:?} {:?}", provider.headers).contains("canary"));
    }

    #[test]
    fn a_bad_url_is_named() {
        for url in ["", "x.example", "ftp://x.example", "http://", "http://u:p@x", "http://x?key=p"]
        {
            let config = ProviderConfig { base_url: Some(url.into()), ..ProviderConfig::default() };
            let error =
                config.resolve("mine", "model_providers.mine", &context(&|_| None)).unwrap_err();
            assert!(error.to_string().contains("model_providers.mine.base_url"), "{error}");
            assert!(!error.to_string().contains("p@") && !error.to_string().contains("key="));
        }
    }
}
