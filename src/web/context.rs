//! [`RequestContext`]: the part of a request that is known before its body is read.

use std::borrow::Cow;

use http::HeaderMap;

use crate::access::Caller;

/// A request without its body.
#[derive(Debug)]
pub struct RequestContext {
    /// The id in the response header `X-Request-Id` and in errors.
    pub request_id: String,
    /// The request headers.
    pub headers: HeaderMap,
    /// The query of the URL, without `?`.
    pub query: Option<String>,
    /// The authenticated caller, if any.
    pub caller: Option<Caller>,
}

impl RequestContext {
    /// Returns the name of the caller's key; empty if there is no caller.
    pub fn caller(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.name)
    }

    /// Whether the client asks that the turn ends with its connection.
    pub fn cancel_on_disconnect(&self) -> bool {
        let header = self.headers.get("x-cancel-on-disconnect");
        header.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
    }

    /// Iterates over the decoded parameters of the query.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        let query = self.query.as_deref().unwrap_or_default();
        query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
    }
}
