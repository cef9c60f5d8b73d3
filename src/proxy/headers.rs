//! Which headers pass through an outbound call. Pure.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::access::Keys;

/// Hop-by-hop headers (RFC 9110, section 7.6.1). `Connection` may name more.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Headers that the HTTP client sets itself.
const SET_BY_CLIENT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::EXPECT];

/// Removes hop-by-hop headers.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Returns the headers to send: those of the caller that pass, overridden by those of the upstream.
pub(super) fn outgoing(mut headers: HeaderMap, own: &HeaderMap) -> HeaderMap {
    strip(&mut headers);
    for name in SET_BY_CLIENT {
        headers.remove(name);
    }
    for (name, value) in own {
        headers.insert(name, value.clone());
    }
    headers
}

/// Returns the first header that contains an API key of this gateway.
pub(super) fn with_gateway_key<'a>(headers: &'a HeaderMap, keys: &Keys) -> Option<&'a HeaderName> {
    let is_key = |word: &[u8]| !word.is_empty() && keys.find(word).is_some();
    // A word may be `name=key`, and a key may end in `=`.
    let has_key_value = |word: &[u8]| {
        let at = word.iter().position(|byte| *byte == b'=')?;
        word.get(at + 1..).map(is_key)
    };
    let holds = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| b" \t;,\"".contains(byte))
            .any(|word| is_key(word) || has_key_value(word) == Some(true))
    };
    headers.iter().find(|(_, value)| holds(value)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn hop_by_hop_headers_do_not_pass() {
        let mut sent = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("host", "elsewhere.example"),
            ("content-length", "7"),
            ("expect", "100-continue"),
            ("authorization", "Bearer callers"),
            ("accept", "*/*"),
        ]);
        sent.append("connection", HeaderValue::from_static("x-other"));
        let own = headers(&[("authorization", "Bearer upstreams")]);
        let gone = outgoing(sent, &own);
        assert_eq!(gone, headers(&[("authorization", "Bearer upstreams"), ("accept", "*/*")]));
    }

    #[test]
    fn gateway_key_is_found_in_any_header() {
        let keys = Keys::parse(["ci=secret-1", "c2VjcmV0LXdpdGgtcGFkZGluZw=="]).unwrap();
        for (value, found) in [
            ("secret-1", true),
            ("Bearer secret-1", true),
            ("session=secret-1; other=2", true),
            ("Bearer c2VjcmV0LXdpdGgtcGFkZGluZw==", true),
            ("secret-12", false),
            ("Bearer other", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-any", HeaderValue::from_static(value));
            assert_eq!(with_gateway_key(&headers, &keys).is_some(), found, "{value}");
        }
    }
}
