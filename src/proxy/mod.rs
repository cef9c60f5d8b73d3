//! Reverse calls (`bff.proxy`): to upstreams that the operator configured, and nowhere else.
//!
//! - [`upstream`]: one of them, as configured; [`location`]: what lies under its prefix;
//! - [`headers`]: what goes through; [`address`]: where it may be; [`connect`]: going there, and only there;
//! - [`mcp_egress`]: the same for tool servers that sessions name, which are not the operator's;
//! - this file: the call.

mod address;
mod connect;
mod headers;
mod location;
pub mod mcp_egress;
pub mod upstream;

use std::collections::BTreeMap;
use std::error::Error as _;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;

use self::connect::Connector;
use self::connect::Private;
use self::location::Location;
use self::upstream::Upstream;
use crate::access::Keys;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;
use crate::tls;

type Client = legacy::Client<HttpsConnector<Connector>, Full<Bytes>>;

/// The upstreams, by name.
#[derive(Debug)]
pub struct Proxies(BTreeMap<String, (Upstream, Client)>);

/// A call, as a client wants it.
#[derive(Debug)]
pub(crate) struct Call {
    /// `NAME/PATH`, or a URL under a configured one.
    pub(crate) endpoint: String,
    /// As it is written.
    pub(crate) method: String,
    /// The client's own.
    pub(crate) headers: HeaderMap,
    /// Put behind the endpoint's own, encoded.
    pub(crate) query: Option<String>,
    /// What is sent.
    pub(crate) body: Bytes,
}

/// What an upstream answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whatever it is, a redirect too.
    pub(crate) status: u16,
    /// Without those of the connection.
    pub(crate) headers: HeaderMap,
    /// Whole.
    pub(crate) body: Bytes,
}

impl Proxies {
    /// Upstreams, each with connections of its own.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(upstreams: &[Upstream]) -> anyhow::Result<Self> {
        if upstreams.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let tls = tls::client_config(tls::system_roots())?;
        let entry = |upstream: &Upstream| {
            let https = HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http()
                .enable_http1()
                .enable_http2()
                .wrap_connector(Connector { allow_private: upstream.allow_private });
            let client = legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .build(https);
            (upstream.name.clone(), (upstream.clone(), client))
        };
        Ok(Self(upstreams.iter().map(entry).collect()))
    }

    /// Calls an upstream.
    ///
    /// # Errors
    /// `Forbidden` where it goes to no configured upstream, or the operator does not allow it;
    /// `InvalidRequest` names what is malformed; `TimedOut`; `Upstream` where it did not answer, or too much.
    pub(crate) async fn call(&self, call: Call, keys: &Keys) -> Result<Answer, Error> {
        let (upstream, client, mut location) = self.find(&call.endpoint)?;
        let method = upstream::method(&call.method)
            .map_err(|expected| Error::invalid(expected).at_field("method"))?;
        if let Some(allowed) =
            upstream.methods.as_ref().filter(|allowed| !allowed.contains(&method))
        {
            let allowed: Vec<&str> = allowed.iter().map(http::Method::as_str).collect();
            return Err(Error::new(
                Kind::Forbidden,
                format!("method: {} takes {}, got {method}", upstream.name, allowed.join(", ")),
            ));
        }
        if let Some(name) = headers::with_gateway_key(&call.headers, keys) {
            return Err(Error::invalid(format!(
                "headers.{name}: expected a credential of the upstream, got a key of this gateway"
            )));
        }
        if let Some(query) = call.query.filter(|query| !query.is_empty()) {
            location.query = Some(match location.query.take() {
                Some(earlier) if !earlier.is_empty() => format!("{earlier}&{query}"),
                Some(_) | None => query,
            });
        }
        let uri =
            location.uri().map_err(|expected| Error::invalid(expected).at_field("endpoint"))?;
        let mut request = Request::new(Full::new(call.body));
        *request.uri_mut() = uri;
        *request.method_mut() = method;
        *request.headers_mut() = headers::outgoing(call.headers, &upstream.headers);

        let request_span = async {
            let response =
                client.request(request).await.map_err(|error| explain(upstream, &error))?;
            let (mut head, body) = response.into_parts();
            headers::strip(&mut head.headers);
            let body = read(upstream, body).await?;
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(upstream.timeout, request_span).await.map_err(|_| {
            let limit = upstream.timeout.as_millis();
            Error::new(
                Kind::TimedOut,
                format!(
                    "{} did not answer whole within {limit} ms (gateway.proxy.{}.timeout_ms)",
                    upstream.name, upstream.name
                ),
            )
        })?
    }

    /// The upstream that an endpoint means, and where under it.
    fn find(&self, endpoint: &str) -> Result<(&Upstream, &Client, Location), Error> {
        if self.0.is_empty() {
            return Err(Error::new(
                Kind::Forbidden,
                "no upstream is configured: the operator adds [gateway.proxy.NAME]",
            ));
        }
        let invalid = |expected| Error::invalid(expected).at_field("endpoint");
        if endpoint.contains("://") {
            let location = Location::parse(endpoint).map_err(invalid)?;
            let found = self.0.values().filter(|(upstream, _)| location.is_under(&upstream.base));
            let (upstream, client) = found
                .max_by_key(|(upstream, _)| upstream.base.depth())
                .ok_or_else(|| self.elsewhere(endpoint))?;
            return Ok((upstream, client, location));
        }
        let end = endpoint.find(['/', '?', '#']).unwrap_or(endpoint.len());
        let (name, rest) = endpoint.split_at_checked(end).unwrap_or((endpoint, ""));
        let (upstream, client) = self.0.get(name).ok_or_else(|| self.elsewhere(endpoint))?;
        // Only the slash behind the name goes: one more is an empty part.
        let location = match rest.strip_prefix('/') {
            Some(path) if path.starts_with('/') => {
                Err("expected a path without empty parts (`//`)")
            }
            Some(path) => upstream.base.join(path),
            None => upstream.base.join(rest),
        };
        Ok((upstream, client, location.map_err(invalid)?))
    }

    fn elsewhere(&self, endpoint: &str) -> Error {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        Error::new(
            Kind::Forbidden,
            format!(
                "endpoint: expected NAME/PATH, or a URL under the NAME's, where NAME is one of {}; got {}",
                names.join(", "),
                excerpt(endpoint)
            ),
        )
    }
}

/// Reads a body, up to the upstream's bound.
async fn read(upstream: &Upstream, mut body: Incoming) -> Result<Bytes, Error> {
    let limit = upstream.max_response_bytes;
    let too_large = || {
        let name = &upstream.name;
        Error::new(
            Kind::Upstream,
            format!(
                "expected an answer of at most {limit} bytes from {name} \
                 (gateway.proxy.{name}.max_response_bytes)"
            ),
        )
    };
    if http_body::Body::size_hint(&body).lower() > limit as u64 {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::new(Kind::Upstream, format!("{}'s answer broke off: {error}", upstream.name))
        })?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// What went wrong before there was an answer.
fn explain(upstream: &Upstream, error: &legacy::Error) -> Error {
    let name = &upstream.name;
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<Private>() {
            return Error::new(
                Kind::Forbidden,
                format!(
                    "{name} has a private address, and gateway.proxy.{name}.allow_private is not set"
                ),
            );
        }
        cause = inner.source();
    }
    // Where it is and what its network says is the operator's to know.
    tracing::warn!(upstream = %name, error = ?error, "a reverse call failed");
    let what = if error.is_connect() { "could not be reached" } else { "broke the call off" };
    Error::new(Kind::Upstream, format!("{name} {what}"))
}
