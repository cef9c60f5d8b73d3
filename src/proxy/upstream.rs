//! An upstream that the operator configured: `[gateway.proxy.NAME]`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use serde::Deserialize;
use serde::Serialize;

use super::location::Location;

/// The table as it is written.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    env_headers: BTreeMap<String, String>,
    methods: Option<Vec<String>>,
    timeout_ms: Option<u64>,
    max_response_bytes: Option<usize>,
    #[serde(default)]
    allow_private: bool,
}

impl std::fmt::Debug for UpstreamConfig {
    /// Without the headers: they may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An upstream, resolved.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: String,
    /// What every call begins with.
    pub(super) base: Location,
    /// Added to every call; never shown.
    pub(super) headers: HeaderMap,
    /// What may be called; `None` for every method but CONNECT and TRACE.
    pub(super) methods: Option<Vec<Method>>,
    /// How long a call may take, body and all.
    pub(super) timeout: Duration,
    /// The largest response body.
    pub(super) max_response_bytes: usize,
    /// It may have a private address.
    pub(super) allow_private: bool,
}

impl UpstreamConfig {
    /// Checks the table.
    ///
    /// # Errors
    /// A value is not what its key takes; the error names the key.
    pub fn resolve(
        &self,
        name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Upstream> {
        let key = |key: &str| format!("gateway.proxy.{name}.{key}");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            bail!("[gateway.proxy.{name}]: a name takes A-Z a-z 0-9 _ -");
        }
        let base =
            Location::parse(&self.url).map_err(anyhow::Error::msg).with_context(|| key("url"))?;
        if base.query.is_some() {
            bail!("{} takes no query", key("url"));
        }
        let mut headers = HeaderMap::new();
        let mut add = |header: &str, value: &str| {
            let (name, mut value): (HeaderName, HeaderValue) = (header.parse()?, value.parse()?);
            value.set_sensitive(true);
            headers.insert(name, value);
            anyhow::Ok(())
        };
        for (header, value) in &self.headers {
            add(header, value).with_context(|| key(&format!("headers.{header}")))?;
        }
        for (header, variable) in &self.env_headers {
            let value = env(variable)
                .with_context(|| format!("{}: {variable} is not set", key("env_headers")))?;
            add(header, &value).with_context(|| key(&format!("env_headers.{header}")))?;
        }
        let methods = self.methods.as_ref().map(|methods| {
            let parsed = methods.iter().map(|name| method(name).map_err(anyhow::Error::msg));
            parsed.collect::<anyhow::Result<Vec<_>>>().with_context(|| key("methods"))
        });
        let timeout = self.timeout_ms.unwrap_or(30_000);
        let max_response_bytes = self.max_response_bytes.unwrap_or(1 << 20);
        if timeout == 0 || max_response_bytes == 0 {
            bail!("{} and {} take 1 or more", key("timeout_ms"), key("max_response_bytes"));
        }
        Ok(Upstream {
            name: name.to_owned(),
            base,
            headers,
            methods: methods.transpose()?,
            timeout: Duration::from_millis(timeout),
            max_response_bytes,
            allow_private: self.allow_private,
        })
    }
}

/// A method that can be called.
pub(super) fn method(name: &str) -> Result<Method, &'static str> {
    let method = Method::from_bytes(name.to_ascii_uppercase().as_bytes());
    // One opens a tunnel, the other shows what was added.
    method.ok().filter(|method| *method != Method::CONNECT && *method != Method::TRACE).ok_or(
        "expected a method such as GET or POST (RFC 9110, section 9), and not CONNECT or TRACE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(toml: &str) -> anyhow::Result<Upstream> {
        let written: UpstreamConfig = toml::from_str(toml)?;
        let env = |name: &str| (name == "TOKEN").then(|| "canary".to_owned());
        written.resolve("api", &env)
    }

    #[test]
    fn every_error_names_the_key() {
        for (toml, expected) in [
            ("url = \"a.example\"", "gateway.proxy.api.url"),
            ("url = \"https://u:p@a.example\"", "gateway.proxy.api.url"),
            ("url = \"https://a.example?x\"", "gateway.proxy.api.url takes no query"),
            ("url = \"https://a.example\"\nmethods = [\"CONNECT\"]", "gateway.proxy.api.methods"),
            ("url = \"https://a.example\"\nmethods = [\"G T\"]", "gateway.proxy.api.methods"),
            ("url = \"https://a.example\"\ntimeout_ms = 0", "gateway.proxy.api.timeout_ms"),
            ("url = \"https://a.example\"\nheaders = { \"a b\" = \"x\" }", "headers.a b"),
            ("url = \"https://a.example\"\nenv_headers = { a = \"NOPE\" }", "NOPE is not set"),
            ("url = \"https://a.example\"\nfollow = true", "unknown field `follow`"),
            ("methods = []", "missing field `url`"),
        ] {
            let error = format!("{:#}", resolve(toml).expect_err(toml));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_added_is_never_shown() {
        let upstream = resolve(
            "url = \"https://a.example\"\nheaders = { x-one = \"canary\" }\nenv_headers = { x-two = \"TOKEN\" }",
        );
        let upstream = upstream.unwrap();
        assert_eq!(upstream.headers["x-two"], "canary");
        assert!(!format!("{upstream:?}").contains("canary"), "{upstream:?}");
    }
}
