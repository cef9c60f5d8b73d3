//! The part of a request that is known before its body is read.

use std::borrow::Cow;

use http::HeaderMap;

use crate::access::Caller;

/// What is known of a request before its body is read.
#[derive(Debug)]
pub struct RequestContext {
    /// Sent back as `X-Request-Id`, and in every error.
    pub request_id: String,
    /// The head.
    pub headers: HeaderMap,
    /// What follows the `?`.
    pub query: Option<String>,
    /// Who is calling, where that is known.
    pub caller: Option<Caller>,
}

impl RequestContext {
    /// The name of the caller's key.
    pub fn caller(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.name)
    }

    /// The parameters of the query, decoded.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        let query = self.query.as_deref().unwrap_or_default();
        query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
    }
}
