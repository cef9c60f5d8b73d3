//! [`admit`]: who is calling, and may they. Every request passes here once, before anything of it
//! is read but its head.

mod keys;

use std::sync::Arc;

use http::HeaderMap;
use http::header;

pub use keys::Keys;

use crate::error::Error;
use crate::error::Kind;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Open,
    /// Whoever has a key.
    Key,
    /// Whoever has a key, or will show it in the first message.
    Socket,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the key, `development` where there is none to show.
    pub name: Arc<str>,
}

/// Authenticates a request and checks that it may use an endpoint of this access. `None` for a caller
/// who is not known, or not yet.
///
/// # Errors
/// `Unauthorized` without a known key; `Forbidden` for a development-mode request that a web page
/// sent under another host's name.
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

/// Whose key this is.
///
/// # Errors
/// `Unauthorized` where it is nobody's.
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

/// Without keys, what keeps others out is that the socket is local. A web page in a browser on
/// this machine could reach it too, by a DNS name that it points here; its requests name that
/// host.
fn only_local_names(headers: &HeaderMap) -> Result<(), Error> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    if is_local(host.to_str().unwrap_or_default()) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        "development mode (no API key) answers to localhost only: expected a `Host` of localhost or \
         127.0.0.1, or set GATEWAY_API_KEY",
    ))
}

/// A browser opens a WebSocket to anywhere for any page, and says whose page it is.
fn only_local_pages(headers: &HeaderMap) -> Result<(), Error> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    if origin.split_once("://").is_some_and(|(_, host)| is_local(host)) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        "development mode (no API key) answers to local pages only: expected an `Origin` of localhost \
         or 127.0.0.1, or set GATEWAY_API_KEY",
    ))
}

/// Whether a `host` or `host:port` is this machine's own.
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
    fn a_known_key_opens_and_nothing_else_does() {
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
    fn development_mode_answers_to_local_names_only() {
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
