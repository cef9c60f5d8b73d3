//! [`admit`]: authenticates the caller and checks access. Every request passes it once, before its
//! body is read.

mod keys;

use std::sync::Arc;

use http::HeaderMap;
use http::header;

pub use self::keys::Keys;

use crate::error::Error;
use crate::error::Kind;

/// The access rule of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No authentication.
    Open,
    /// An API key in the headers.
    Key,
    /// An API key in the headers, or in the first message on the WebSocket.
    Socket,
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the API key; `development` in development mode.
    pub name: Arc<str>,
}

/// Authenticates a request and checks it against the access rule of its endpoint. Returns `None` if
/// the endpoint is open, or if the caller will authenticate on the WebSocket.
///
/// # Errors
/// `Unauthorized` without a known key; `Forbidden` in development mode if the host or the web page
/// that sends the request is not local.
pub fn admit(keys: &Keys, access: Access, headers: &HeaderMap) -> Result<Option<Caller>, Error> {
    match access {
        Access::Open => Ok(None),
        Access::Key if keys.is_empty() => {
            only_local_names(headers)?;
            Ok(Some(Caller { name: "development".into() }))
        }
        Access::Key => by_key(keys, credential(headers).unwrap_or_default()).map(Some),
        Access::Socket if keys.is_empty() => {
            only_local_names(headers)?;
            only_local_pages(headers)?;
            Ok(Some(Caller { name: "development".into() }))
        }
        Access::Socket => credential(headers).map(|key| by_key(keys, key)).transpose(),
    }
}

/// Authenticates a key.
///
/// # Errors
/// `Unauthorized` if the key is unknown.
pub fn by_key(keys: &Keys, key: &[u8]) -> Result<Caller, Error> {
    keys.find(key).map(|name| Caller { name }).ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "expected a known API key in `X-API-Key: KEY` or `Authorization: Bearer KEY`",
        )
    })
}

fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    // The scheme is case-insensitive (RFC 9110, section 11.1).
    let (scheme, key) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key.trim_ascii())
}

/// Refuses requests for a host that is not local.
///
/// In development mode only the loopback address protects the gateway. A web page could reach it
/// from a browser on this machine through a DNS name that resolves to loopback (DNS rebinding).
/// Such requests carry that name in `Host`.
fn only_local_names(headers: &HeaderMap) -> Result<(), Error> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    if is_local(host.to_str().unwrap_or_default()) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        "Host: expected localhost or 127.0.0.1, because development mode (no API key) accepts local \
         requests only; set GATEWAY_API_KEY to accept others",
    ))
}

/// Refuses WebSockets of web pages that are not local. Browsers let any page open a WebSocket to
/// any host, but name the page in `Origin`.
fn only_local_pages(headers: &HeaderMap) -> Result<(), Error> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    if origin.split_once("://").is_some_and(|(_, host)| is_local(host)) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        "Origin: expected localhost or 127.0.0.1, because development mode (no API key) accepts local \
         web pages only; set GATEWAY_API_KEY to accept others",
    ))
}

/// Returns whether a `host` or `host:port` is loopback by name or address.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_known_keys_are_admitted() {
        let keys = Keys::parse(["ci=secret-1", "secret-2"]).unwrap();
        for (pairs, expected) in [
            (&[("x-api-key", "secret-1")][..], Some("ci")),
            (&[("authorization", "Bearer secret-1")], Some("ci")),
            (&[("authorization", "bearer  secret-2 ")], Some("key-2")),
            (&[("authorization", "Basic secret-1")], None),
            (&[("authorization", "Bearer")], None),
            (&[("x-api-key", "secret")], None),
            (&[("x-api-key", "")], None),
            (&[], None),
        ] {
            let caller = admit(&keys, Access::Key, &headers(pairs));
            let name = caller.ok().flatten().map(|caller| caller.name.to_string());
            assert_eq!(name.as_deref(), expected, "{pairs:?}");
        }
        assert_eq!(admit(&keys, Access::Open, &HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn development_mode_admits_local_hosts_only() {
        let keys = Keys::default();
        for (host, allowed) in [
            ("localhost:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("app.localhost", true),
            ("evil.example", false),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
        ] {
            let admitted = admit(&keys, Access::Key, &headers(&[("host", host)])).is_ok();
            assert_eq!(admitted, allowed, "{host}");
        }
    }
}
