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

/// Returns the first header that contains the caller's own API key. Other keys are not looked for:
/// the answer would tell a caller which of its guesses is one.
pub(super) fn with_own_key<'a>(
    headers: &'a HeaderMap,
    keys: &Keys,
    caller: &str,
) -> Option<&'a HeaderName> {
    let is_key = |word: &[u8]| !word.is_empty() && keys.is_key_of(caller, word);
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
    fn only_the_callers_own_key_is_found() {
        let keys = Keys::parse(["ci=secret-1", "c2VjcmV0LXdpdGgtcGFkZGluZw=="]).unwrap();
        for (caller, value, found) in [
            ("ci", "secret-1", true),
            ("ci", "Bearer secret-1", true),
            ("ci", "session=secret-1; other=2", true),
            ("key-6e07117e", "Bearer c2VjcmV0LXdpdGgtcGFkZGluZw==", true),
            ("ci", "secret-12", false),
            ("ci", "Bearer other", false),
            ("ci", "", false),
            // Another's key: the caller must not learn that it is one.
            ("key-6e07117e", "secret-1", false),
            ("development", "secret-1", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-any", HeaderValue::from_static(value));
            let name = with_own_key(&headers, &keys, caller);
            assert_eq!(name.is_some(), found, "{caller} {value}");
        }
    }
}
