//! [`admit`]: authenticates the caller and checks access. Every request passes it once, before its
//! body is read. [`owners`] says who may use what a caller has made, [`approvals`] who may decide what
//! an agent asks.

pub mod approvals;
mod keys;
mod local;
pub mod owners;

use std::sync::Arc;

use http::HeaderMap;
use http::Method;
use http::Request;
use http::header;

pub use self::keys::DEVELOPMENT;
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
    /// The name of the API key; [`DEVELOPMENT`] in development mode.
    pub name: Arc<str>,
}

/// Authenticates a request and checks it against the access rule of its endpoint. Returns `None` if
/// the endpoint is open, or if the caller will authenticate on the WebSocket.
///
/// # Errors
/// `Unauthorized` without a known key; `Forbidden` in development mode if the host is not local, or
/// if the request comes from a foreign web page ([`local`]).
pub fn admit<B>(
    keys: &Keys,
    access: Access,
    request: &Request<B>,
) -> Result<Option<Caller>, Error> {
    match access {
        Access::Open => Ok(None),
        Access::Key | Access::Socket if keys.is_empty() => {
            local::check_host(request)?;
            // A foreign page cannot read a response, and GET changes nothing. Opening a WebSocket
            // is a GET as well, but the page could read from it.
            if access == Access::Socket || !matches!(*request.method(), Method::GET | Method::HEAD)
            {
                local::check_page(request)?;
            }
            Ok(Some(Caller { name: DEVELOPMENT.into() }))
        }
        Access::Key => by_key(keys, credential(request.headers()).unwrap_or_default()).map(Some),
        Access::Socket => credential(request.headers()).map(|key| by_key(keys, key)).transpose(),
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

/// Returns the key of `X-API-Key` or `Authorization`. An empty value counts as absent: some clients
/// and proxies send the header without one.
fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    let mut keys = headers.get_all("x-api-key").iter().map(|value| value.as_bytes().trim_ascii());
    if let Some(key) = keys.find(|key| !key.is_empty()) {
        return Some(key);
    }
    let mut values = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        // The scheme is case-insensitive (RFC 9110, section 11.1).
        let (scheme, key) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key.trim_ascii())
    });
    values.find(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post("/exec");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_known_keys_are_admitted() {
        let keys = Keys::parse(["ci=secret-1", "secret-2"]).unwrap();
        for (pairs, expected) in [
            (&[("x-api-key", "secret-1")][..], Some("ci")),
            (&[("authorization", "Bearer secret-1")], Some("ci")),
            (&[("authorization", "bearer  secret-2 ")], Some("key-f4b6bb65")),
            (&[("x-api-key", ""), ("authorization", "Bearer secret-1")], Some("ci")),
            (&[("x-api-key", " "), ("x-api-key", "secret-1")], Some("ci")),
            (&[("authorization", "Basic eDp5"), ("authorization", "Bearer secret-1")], Some("ci")),
            // One wrong key is enough to refuse a request.
            (&[("x-api-key", "wrong"), ("authorization", "Bearer secret-1")], None),
            (&[("authorization", "Basic secret-1")], None),
            (&[("authorization", "Bearer")], None),
            (&[("x-api-key", "secret")], None),
            (&[("x-api-key", "")], None),
            (&[], None),
        ] {
            let caller = admit(&keys, Access::Key, &request(pairs));
            let name = caller.ok().flatten().map(|caller| caller.name.to_string());
            assert_eq!(name.as_deref(), expected, "{pairs:?}");
        }
        assert_eq!(admit(&keys, Access::Open, &request(&[])).unwrap(), None);
        assert_eq!(admit(&keys, Access::Socket, &request(&[("x-api-key", "")])).unwrap(), None);
        assert!(admit(&keys, Access::Socket, &request(&[("x-api-key", "wrong")])).is_err());
    }

    #[test]
    fn foreign_pages_may_only_read() {
        let admitted = |keys: &Keys, access, method| {
            let request = Request::builder().method(method).header("host", "localhost:8080");
            let request = request.header("origin", "https://evil.example").body(()).unwrap();
            admit(keys, access, &request).is_ok()
        };
        let none = Keys::default();
        for (access, method, expected) in [
            (Access::Key, Method::GET, true),
            (Access::Key, Method::HEAD, true),
            (Access::Key, Method::POST, false),
            (Access::Key, Method::DELETE, false),
            (Access::Socket, Method::GET, false),
            (Access::Open, Method::POST, true),
        ] {
            assert_eq!(admitted(&none, access, method.clone()), expected, "{access:?} {method}");
        }
        // With keys, a page that has none gets nowhere.
        assert!(admitted(&Keys::parse(["secret"]).unwrap(), Access::Socket, Method::GET));
    }
}
