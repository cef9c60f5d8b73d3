//! [`Location`]: the target of a reverse call, a URL that is parsed and compared part by part.
//! Pure.
//!
//! URLs that the upstream could read differently are refused, not normalised: `..`, slashes that
//! are encoded once or more, backslashes, credentials before the host.

use http::Uri;
use percent_encoding::percent_decode;

/// A parsed URL with the scheme `http` or `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    tls: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    path: Vec<String>,
    /// The part after `?`.
    pub(super) query: Option<String>,
}

/// The error: what was expected.
pub(super) type Expected = &'static str;

impl Location {
    /// Parses an absolute URL.
    pub(super) fn parse(url: &str) -> Result<Self, Expected> {
        const SHAPE: Expected = "expected an absolute URL, http://HOST/PATH or https://HOST/PATH";
        let (scheme, rest) = url.split_once("://").ok_or(SHAPE)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(SHAPE),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).ok_or(SHAPE)?;
        let (host, port) = host_and_port(authority)?;
        let (path, query) = split(rest)?;
        Ok(Self {
            tls,
            host,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path: segments(path)?,
            query: query.map(str::to_owned),
        })
    }

    /// Appends `rest`: a path without a leading slash, and a query.
    pub(super) fn join(&self, rest: &str) -> Result<Self, Expected> {
        let (path, query) = split(rest)?;
        let mut joined = self.clone();
        if !path.is_empty() {
            joined.drop_trailing();
            joined.path.extend(segments(path)?);
        }
        joined.query = query.map(str::to_owned);
        Ok(joined)
    }

    /// Returns whether this is `base` or below it.
    pub(super) fn is_under(&self, base: &Self) -> bool {
        let mut base = base.clone();
        base.drop_trailing();
        (self.tls, &self.host, self.port) == (base.tls, &base.host, base.port)
            && self.path.starts_with(&base.path)
    }

    /// Returns the number of parts of the path.
    pub(super) fn depth(&self) -> usize {
        self.path.len()
    }

    /// Formats the URL.
    pub(super) fn uri(&self) -> Result<Uri, Expected> {
        let Self { tls, host, port, path, query } = self;
        let (scheme, default_port) = if *tls { ("https", 443) } else { ("http", 80) };
        let port = if *port == default_port { String::new() } else { format!(":{port}") };
        let query = query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        format!("{scheme}://{host}{port}/{}{query}", path.join("/"))
            .parse()
            .map_err(|_| "expected a URL of at most 65535 characters")
    }

    /// Removes the empty part after a trailing slash.
    fn drop_trailing(&mut self) {
        if self.path.last().is_some_and(String::is_empty) {
            self.path.pop();
        }
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), Expected> {
    const HOST: Expected = "expected a host name or an IP address after the scheme";
    if authority.contains('@') {
        return Err("expected no credentials before the host");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        None | Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().map_err(|_| "expected a port of 1 to 65535")?)
        }
        Some(_) => return Err("expected a port of 1 to 65535"),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(allowed)
        }
    };
    if good { Ok((host.to_ascii_lowercase(), port)) } else { Err(HOST) }
}

fn split(rest: &str) -> Result<(&str, Option<&str>), Expected> {
    if rest.contains('#') {
        return Err("expected no fragment");
    }
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err("expected a percent-encoded query");
    }
    Ok((path.strip_prefix('/').unwrap_or(path), query))
}

/// Splits a path into its parts. Only the last may be empty.
fn segments(path: &str) -> Result<Vec<String>, Expected> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = path.split('/').collect();
    let (last, others) = parts.split_last().unwrap_or((&"", &[]));
    if others.iter().any(|part| part.is_empty()) {
        return Err("expected a path without empty parts (`//`)");
    }
    for part in others.iter().chain([last]) {
        check(part)?;
    }
    Ok(parts.into_iter().map(str::to_owned).collect())
}

/// Checks that a part stays one name when it is decoded up to three times.
fn check(part: &str) -> Result<(), Expected> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte);
    if !part.bytes().all(allowed) {
        return Err("expected a percent-encoded path (RFC 3986, section 3.3)");
    }
    let mut text = part.as_bytes().to_vec();
    for _ in 0..4 {
        let name = text.split(|byte| *byte == b';').next().unwrap_or_default();
        if matches!(name, b"." | b"..") {
            return Err("expected a path without `.` and `..`");
        }
        if text.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0..=0x1f | 0x7f)) {
            return Err(
                "expected a path without encoded slashes, backslashes or control characters",
            );
        }
        let decoded: Vec<u8> = percent_decode(&text).collect();
        if decoded == text {
            // Servers differ in how they read a `%` that encodes nothing.
            return if part.contains('%') && !is_encoded(part) {
                Err("expected two hexadecimal digits after each `%`")
            } else {
                Ok(())
            };
        }
        text = decoded;
    }
    Err("expected a path that is encoded once")
}

fn is_encoded(part: &str) -> bool {
    part.split('%').skip(1).all(|after| {
        after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_under_a_prefix_by_parts() {
        for (base, url, expected) in [
            ("https://a.example/v1/", "https://a.example/v1/x", true),
            ("https://a.example/v1", "https://a.example/v1/x", true),
            ("https://a.example/v1/", "https://a.example/v1", true),
            ("https://a.example/v1/", "https://a.example/v1/", true),
            ("https://a.example/v1/", "HTTPS://A.EXAMPLE:443/v1/x?y=1", true),
            ("https://a.example", "https://a.example/anything", true),
            ("http://[::1]:8080/", "http://[::1]:8080/x", true),
            ("https://a.example/v1/", "https://a.example/v10/x", false),
            ("https://a.example/v1/", "https://a.example/", false),
            ("https://a.example/v1/", "https://a.example/V1/x", false),
            ("https://a.example/v1/", "http://a.example/v1/x", false),
            ("https://a.example/v1/", "https://a.example:8443/v1/x", false),
            ("https://a.example/v1/", "https://a.example.evil.example/v1/x", false),
            ("https://a.example/v1/", "https://evil.example/v1/x", false),
            ("https://a.example/v1/", "https://a.example./v1/x", false),
            ("http://127.0.0.1/", "http://2130706433/", false),
            ("http://127.0.0.1/", "http://0x7f.1/", false),
        ] {
            let under = Location::parse(url).unwrap().is_under(&Location::parse(base).unwrap());
            assert_eq!(under, expected, "{url} under {base}");
        }
    }

    #[test]
    fn ambiguous_urls_are_refused() {
        for url in [
            "https://a.example/v1/../secret",
            "https://a.example/v1/./x",
            "https://a.example/v1/%2e%2e/secret",
            "https://a.example/v1/.%2E/secret",
            "https://a.example/v1/%252e%252e/secret",
            "https://a.example/v1/..;x=1/secret",
            "https://a.example/v1/..%3bx/secret",
            "https://a.example/v1/a%2fb",
            "https://a.example/v1/a%2Fb",
            "https://a.example/v1/a%252fb",
            "https://a.example/v1/a%25252fb",
            "https://a.example/v1/a%2525252fb",
            "https://a.example/v1/%ff%252fb",
            "https://a.example/v1/a%5cb",
            "https://a.example/v1/a\\b",
            "https://a.example\\@evil.example/v1/",
            "https://a.example/v1//x",
            "https://a.example//evil.example/",
            "https://a.example/v1/a%00b",
            "https://a.example/v1/a%0d%0ab",
            "https://a.example/v1/a%zzb",
            "https://a.example/v1/100%",
            "https://a.example/v1/a b",
            "https://a.example/v1/ä",
            "https://a.example/v1/x#y",
            "https://a.example/v1/?a b",
            "https://user@a.example/v1/",
            "https://user:pass@a.example/v1/",
            "https://a.example:99999/v1/",
            "https://a.example:x/v1/",
            "https://[::1/v1/",
            "https://[a.example]/v1/",
            "https://exämple.example/",
            "https://a%2eexample/",
            "https:///v1/",
            "https:a.example/v1/",
            "//a.example/v1/",
            "ftp://a.example/v1/",
            "file:///etc/passwd",
            "gopher://a.example/",
            "",
        ] {
            assert!(Location::parse(url).is_err(), "{url}");
        }
        let base = Location::parse("https://a.example/v1/").unwrap();
        for rest in ["../secret", "%2e%2e/secret", "a//b", "a\\b", "//evil.example", "a%2fb", "x#y"]
        {
            assert!(base.join(rest).is_err(), "{rest}");
        }
    }

    #[test]
    fn path_is_joined_to_a_prefix() {
        for (base, rest, expected) in [
            ("https://a.example/v1/", "x/y", "https://a.example/v1/x/y"),
            ("https://a.example/v1", "x", "https://a.example/v1/x"),
            ("https://a.example/v1/", "", "https://a.example/v1/"),
            ("https://a.example/v1", "", "https://a.example/v1"),
            ("https://a.example/v1", "x/?q=1", "https://a.example/v1/x/?q=1"),
            ("https://a.example/v1", "?q=1", "https://a.example/v1?q=1"),
            ("http://a.example:8080", "a%20b", "http://a.example:8080/a%20b"),
            ("http://a.example", "100%25", "http://a.example/100%25"),
            // A path that looks like an authority.
            ("http://a.example:80", "x:y@z", "http://a.example/x:y@z"),
        ] {
            let joined = Location::parse(base).unwrap().join(rest).unwrap();
            assert_eq!(joined.uri().unwrap().to_string(), expected);
            assert!(joined.is_under(&Location::parse(base).unwrap()));
        }
    }
}
