//! Development mode: which hosts and web pages may call a gateway without API keys.
//!
//! Only the loopback address protects it then. A web page in a browser on this machine could reach
//! it:
//!
//! - through a DNS name that resolves to loopback (DNS rebinding): the request has that name as its
//!   host ([`check_host`]);
//! - with a cross-origin request, whose response the page cannot read, but which would change
//!   something all the same: browsers name the page in `Origin`, and its relation to the gateway in
//!   `Sec-Fetch-Site` ([`check_page`]).

use http::HeaderMap;
use http::Request;
use http::header;

use crate::error::Error;
use crate::error::Kind;

/// Refuses a request for a host that is not local.
///
/// # Errors
/// `Forbidden`.
pub(super) fn check_host<B>(request: &Request<B>) -> Result<(), Error> {
    // HTTP/2 has the host in the target (RFC 9113, section 8.3.1), HTTP/1.1 may have it in both.
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let header = request.headers().get(header::HOST).map(text);
    match target.into_iter().chain(header).find(|host| !is_local(host)) {
        None => Ok(()),
        Some(host) => Err(Error::new(
            Kind::Forbidden,
            format!(
                "Host: expected localhost or 127.0.0.1, because development mode (no API key) \
                 accepts local requests only, got {host:?}; set GATEWAY_API_KEY to accept others"
            ),
        )),
    }
}

/// Refuses a request of a web page of another origin than this gateway's: another host or port.
///
/// # Errors
/// `Forbidden`.
pub(super) fn check_page<B>(request: &Request<B>) -> Result<(), Error> {
    let headers = request.headers();
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let host = target.or_else(|| headers.get(header::HOST).map(text)).unwrap_or_default();
    for origin in headers.get_all(header::ORIGIN) {
        if !is_same_origin(text(origin), host) {
            return Err(foreign(&format!("Origin: expected {host}"), text(origin)));
        }
    }
    match site(headers) {
        Some(site @ ("cross-site" | "same-site")) => {
            Err(foreign("Sec-Fetch-Site: expected same-origin", site))
        }
        _ => Ok(()),
    }
}

/// Returns how a browser describes the relation of the page to this gateway.
fn site(headers: &HeaderMap) -> Option<&str> {
    headers.get("sec-fetch-site").map(text)
}

fn foreign(expected: &str, got: &str) -> Error {
    let detail = format!(
        "{expected}, because development mode (no API key) accepts no requests of other web pages, \
         got {got:?}; set GATEWAY_API_KEY to accept them"
    );
    Error::new(Kind::Forbidden, detail)
}

fn text(value: &http::HeaderValue) -> &str {
    // A value that is not text equals no host.
    value.to_str().unwrap_or("?")
}

/// Returns whether an origin (RFC 6454) has this host and port. The scheme is not compared: a proxy
/// on this machine may add TLS.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (origin, host) = (split_port(origin), split_port(host));
    !origin.0.is_empty()
        && origin.0.eq_ignore_ascii_case(host.0)
        && origin.1.unwrap_or(default) == host.1.unwrap_or(default)
}

/// Splits `host` or `host:port`.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// Returns whether a `host` or `host:port` is loopback by name or address.
fn is_local(host: &str) -> bool {
    let (name, _) = split_port(host);
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post("/");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_local_hosts_are_accepted() {
        for (host, expected) in [
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("app.localhost", true),
            ("evil.example", false),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(check_host(&request(&[("host", host)])).is_ok(), expected, "{host}");
            let over_http_2 = Request::get(format!("http://{host}/")).body(()).unwrap();
            assert_eq!(check_host(&over_http_2).is_ok(), expected, "{host}");
        }
        assert!(check_host(&request(&[])).is_ok());
    }

    #[test]
    fn only_own_pages_are_accepted() {
        let host = ("host", "localhost:8080");
        for (pairs, expected) in [
            (&[host][..], true),
            (&[host, ("origin", "http://localhost:8080")], true),
            (&[("host", "localhost"), ("origin", "http://localhost")], true),
            (&[("host", "localhost:443"), ("origin", "https://localhost")], true),
            (&[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")], true),
            (&[host, ("sec-fetch-site", "same-origin")], true),
            (&[host, ("sec-fetch-site", "none")], true),
            (&[host, ("origin", "https://evil.example")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "http://localhost:3000")], false),
            (&[host, ("origin", "http://localhost")], false),
            (&[host, ("origin", "http://127.0.0.1:8080")], false),
            (&[host, ("origin", "http://evil.localhost:8080")], false),
            (&[host, ("origin", "http://localhost:8080.evil.example")], false),
            (&[host, ("origin", "http://localhost:8080"), ("origin", "http://evil")], false),
            (&[("origin", "http://localhost:8080")], false),
            (&[host, ("sec-fetch-site", "cross-site")], false),
            (&[host, ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(check_page(&request(pairs)).is_ok(), expected, "{pairs:?}");
        }
    }
}
