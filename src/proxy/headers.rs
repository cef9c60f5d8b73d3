//! Which headers go through a reverse call. Pure.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::access::Keys;

/// What is of one connection (RFC 9110, section 7.6.1), beside what `Connection` names.
const OF_A_CONNECTION: [&str; 11] = [
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

/// What the gateway says itself, about the request that it sends.
const OF_THE_REQUEST: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::EXPECT];

/// Takes out what is of one connection.
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
    for name in OF_A_CONNECTION {
        headers.remove(name);
    }
}

/// What is sent of a caller's headers, with the upstream's own in their place.
pub(super) fn outgoing(mut headers: HeaderMap, own: &HeaderMap) -> HeaderMap {
    strip(&mut headers);
    for name in OF_THE_REQUEST {
        headers.remove(name);
    }
    for (name, value) in own {
        headers.insert(name, value.clone());
    }
    headers
}

/// The first header that holds a key of this gateway.
pub(super) fn with_gateway_key<'a>(headers: &'a HeaderMap, keys: &Keys) -> Option<&'a HeaderName> {
    let is_key = |word: &[u8]| !word.is_empty() && keys.find(word).is_some();
    // A word may be `name=key`, and a key may end in `=`.
    let behind = |word: &[u8]| {
        let at = word.iter().position(|byte| *byte == b'=')?;
        word.get(at + 1..).map(is_key)
    };
    let holds = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| b" \t;,\"".contains(byte))
            .any(|word| is_key(word) || behind(word) == Some(true))
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
    fn what_is_of_a_connection_does_not_go_through() {
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
    fn a_key_of_the_gateway_is_found_in_any_header() {
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
