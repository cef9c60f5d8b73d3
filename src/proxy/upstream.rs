//! [`Upstream`]: a target of reverse calls, configured as `[gateway.proxy.NAME]`.

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
use crate::range;

/// A table `[gateway.proxy.NAME]` as written.
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
    /// Omits the headers, which may contain secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A resolved upstream.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The name in the configuration.
    pub name: String,
    /// The prefix of all calls.
    pub(super) base: Location,
    /// Headers to add to every call. Secret.
    pub(super) headers: HeaderMap,
    /// The allowed methods; `None` allows all except CONNECT and TRACE.
    pub(super) methods: Option<Vec<Method>>,
    /// The time limit of a call, including the response body.
    pub(super) timeout: Duration,
    /// The size limit of a response body in bytes.
    pub(super) max_response_bytes: usize,
    /// Whether the upstream may have a private address.
    pub(super) allow_private: bool,
}

impl Upstream {
    /// Returns the time limit of a call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl UpstreamConfig {
    /// Resolves and checks the table.
    ///
    /// # Errors
    /// A value is invalid. The error names the key.
    pub fn resolve(
        &self,
        name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Upstream> {
        let key = |key: &str| format!("gateway.proxy.{name}.{key}");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if name.is_empty() || !name.bytes().all(allowed) {
            bail!(
                "[gateway.proxy.{name}]: expected a name of the characters A-Z, a-z, 0-9, _ and -"
            );
        }
        let base =
            Location::parse(&self.url).map_err(anyhow::Error::msg).with_context(|| key("url"))?;
        if base.query.is_some() {
            bail!("{}: expected a URL without a query", key("url"));
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
            let value = env(variable).with_context(|| {
                format!("{}: expected {variable} to be set", key("env_headers"))
            })?;
            add(header, &value).with_context(|| key(&format!("env_headers.{header}")))?;
        }
        let methods = self.methods.as_ref().map(|methods| {
            let parsed = methods.iter().map(|name| method(name).map_err(anyhow::Error::msg));
            parsed.collect::<anyhow::Result<Vec<_>>>().with_context(|| key("methods"))
        });
        let max_response_bytes = self.max_response_bytes;
        Ok(Upstream {
            name: name.to_owned(),
            base,
            headers,
            methods: methods.transpose()?,
            timeout: range::millis(key("timeout_ms"), self.timeout_ms, 30_000)?,
            max_response_bytes: range::within(
                key("max_response_bytes"),
                max_response_bytes,
                1..=range::MAX_BYTES,
                1 << 20,
            )?,
            allow_private: self.allow_private,
        })
    }
}

/// Parses a method of a reverse call.
pub(super) fn method(name: &str) -> Result<Method, &'static str> {
    let method = Method::from_bytes(name.to_ascii_uppercase().as_bytes());
    // CONNECT opens a tunnel, and TRACE would reveal the added headers.
    method.ok().filter(|method| *method != Method::CONNECT && *method != Method::TRACE).ok_or(
        "expected a method such as GET or POST (RFC 9110, section 9), but not CONNECT or TRACE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(toml: &str) -> anyhow::Result<Upstream> {
        let table: UpstreamConfig = toml::from_str(toml)?;
        let env = |name: &str| (name == "TOKEN").then(|| "canary".to_owned());
        table.resolve("api", &env)
    }

    #[test]
    fn errors_name_the_key() {
        for (toml, expected) in [
            ("url = \"a.example\"", "gateway.proxy.api.url"),
            ("url = \"https://u:p@a.example\"", "gateway.proxy.api.url"),
            (
                "url = \"https://a.example?x\"",
                "gateway.proxy.api.url: expected a URL without a query",
            ),
            ("url = \"https://a.example\"\nmethods = [\"CONNECT\"]", "gateway.proxy.api.methods"),
            ("url = \"https://a.example\"\nmethods = [\"G T\"]", "gateway.proxy.api.methods"),
            ("url = \"https://a.example\"\ntimeout_ms = 0", "gateway.proxy.api.timeout_ms"),
            ("url = \"https://a.example\"\nheaders = { \"a b\" = \"x\" }", "headers.a b"),
            (
                "url = \"https://a.example\"\nenv_headers = { a = \"NOPE\" }",
                "expected NOPE to be set",
            ),
            ("url = \"https://a.example\"\nfollow = true", "unknown field `follow`"),
            ("methods = []", "missing field `url`"),
        ] {
            let error = format!("{:#}", resolve(toml).expect_err(toml));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn added_headers_are_not_in_debug() {
        let upstream = resolve(
            "url = \"https://a.example\"\nheaders = { x-one = \"canary\" }\nenv_headers = { x-two = \"TOKEN\" }",
        );
        let upstream = upstream.unwrap();
        assert_eq!(upstream.headers["x-two"], "canary");
        assert!(!format!("{upstream:?}").contains("canary"), "{upstream:?}");
    }
}
