//! [`Proxies`]: reverse calls to configured upstreams, and nowhere else.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;

use super::connect;
use super::connect::Connector;
use super::connect::is_private;
use super::headers;
use super::location::Location;
use super::upstream;
use super::upstream::Upstream;
use crate::access::Keys;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;
use crate::tls;

type Client = connect::Client<Full<Bytes>>;

/// The configured upstreams, by name.
#[derive(Debug)]
pub struct Proxies(BTreeMap<String, (Upstream, Client)>);

/// A reverse call of a client.
#[derive(Debug)]
pub(crate) struct ProxyRequest {
    /// `NAME/PATH`, or a URL below that of an upstream.
    pub(crate) endpoint: String,
    /// In any case; parsed by the call.
    pub(crate) method: String,
    /// The client's headers. Those of the upstream override them.
    pub(crate) headers: HeaderMap,
    /// A percent-encoded query, appended to that of the endpoint.
    pub(crate) query: Option<String>,
    /// The request body.
    pub(crate) body: Bytes,
}

/// The response of an upstream.
#[derive(Debug)]
pub(crate) struct ProxyResponse {
    /// Any status: errors and redirects are passed on.
    pub(crate) status: u16,
    /// Without the headers that concern the connection.
    pub(crate) headers: HeaderMap,
    /// The complete body.
    pub(crate) body: Bytes,
}

impl Proxies {
    /// Creates a client for each upstream.
    ///
    /// # Errors
    /// The TLS configuration cannot be built.
    pub fn new(upstreams: &[Upstream]) -> anyhow::Result<Self> {
        if upstreams.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let tls = tls::client_config(tls::system_roots())?;
        let entry = |upstream: &Upstream| {
            let connector = Connector { allow_private: upstream.allow_private };
            let client = tls::pooled_client(connector, tls.clone());
            (upstream.name.clone(), (upstream.clone(), client))
        };
        Ok(Self(upstreams.iter().map(entry).collect()))
    }

    /// Calls an upstream.
    ///
    /// # Errors
    /// `Forbidden` if the endpoint belongs to no upstream or the operator does not allow the call;
    /// `InvalidRequest` if a field is invalid; `TimedOut`; `Upstream` if the upstream does not
    /// answer or its response is too large.
    pub(crate) async fn call(
        &self,
        call: ProxyRequest,
        keys: &Keys,
        caller: &str,
    ) -> Result<ProxyResponse, Error> {
        let (upstream, client, mut location) = self.find(&call.endpoint)?;
        let method = upstream::method(&call.method)
            .map_err(|expected| Error::invalid(expected).at_field("method"))?;
        if let Some(allowed) =
            upstream.methods.as_ref().filter(|allowed| !allowed.contains(&method))
        {
            let allowed: Vec<&str> = allowed.iter().map(http::Method::as_str).collect();
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "method: expected one that {} allows ({}), got {method}",
                    upstream.name,
                    allowed.join(", ")
                ),
            ));
        }
        if let Some(name) = headers::with_own_key(&call.headers, keys, caller) {
            return Err(Error::invalid(format!(
                "headers.{name}: expected a credential of the upstream, got your API key of this gateway"
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

        let exchange = async {
            let response =
                client.request(request).await.map_err(|error| explain(upstream, &error))?;
            let (mut head, body) = response.into_parts();
            headers::strip(&mut head.headers);
            let body = read(upstream, body).await?;
            Ok(ProxyResponse { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(upstream.timeout, exchange).await.map_err(|_| {
            let limit = upstream.timeout.as_millis();
            Error::new(
                Kind::TimedOut,
                format!(
                    "expected a complete response from {} within {limit} ms \
                     (gateway.proxy.{}.timeout_ms)",
                    upstream.name, upstream.name
                ),
            )
        })?
    }

    /// Finds the upstream of an endpoint, and the location at it.
    fn find(&self, endpoint: &str) -> Result<(&Upstream, &Client, Location), Error> {
        if self.0.is_empty() {
            return Err(Error::new(
                Kind::Forbidden,
                "endpoint: no upstream is configured; ask the operator to add [gateway.proxy.NAME]",
            ));
        }
        let invalid = |expected| Error::invalid(expected).at_field("endpoint");
        if endpoint.contains("://") {
            let location = Location::parse(endpoint).map_err(invalid)?;
            let found = self.0.values().filter(|(upstream, _)| location.is_under(&upstream.base));
            let (upstream, client) = found
                .max_by_key(|(upstream, _)| upstream.base.depth())
                .ok_or_else(|| self.unknown(endpoint))?;
            return Ok((upstream, client, location));
        }
        let end = endpoint.find(['/', '?', '#']).unwrap_or(endpoint.len());
        let (name, rest) = endpoint.split_at_checked(end).unwrap_or((endpoint, ""));
        let (upstream, client) = self.0.get(name).ok_or_else(|| self.unknown(endpoint))?;
        // Only one slash separates the name from the path. A second one is an empty part.
        let location = match rest.strip_prefix('/') {
            Some(path) if path.starts_with('/') => {
                Err("expected a path without empty parts (`//`)")
            }
            Some(path) => upstream.base.join(path),
            None => upstream.base.join(rest),
        };
        Ok((upstream, client, location.map_err(invalid)?))
    }

    fn unknown(&self, endpoint: &str) -> Error {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        Error::new(
            Kind::Forbidden,
            format!(
                "endpoint: expected NAME/PATH or a URL below that of NAME, where NAME is one of {}; \
                 got {}",
                names.join(", "),
                excerpt(endpoint)
            ),
        )
    }
}

/// Reads a body up to the upstream's size limit.
async fn read(upstream: &Upstream, mut body: Incoming) -> Result<Bytes, Error> {
    let limit = upstream.max_response_bytes;
    let too_large = || {
        let name = &upstream.name;
        Error::new(
            Kind::Upstream,
            format!(
                "expected a response of at most {limit} bytes from {name} \
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
            Error::new(
                Kind::Upstream,
                format!("the response of {} broke off: {error}", upstream.name),
            )
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

/// Converts an error that occurred before the response.
fn explain(upstream: &Upstream, error: &legacy::Error) -> Error {
    let name = &upstream.name;
    if is_private(error) {
        return Error::new(
            Kind::Forbidden,
            format!(
                "endpoint: {name} has a private address, which requires \
                 gateway.proxy.{name}.allow_private = true"
            ),
        );
    }
    // The address and the network error are for the operator only.
    tracing::warn!(upstream = %name, error = ?error, "reverse call failed");
    let cause = if error.is_connect() { "could not be reached" } else { "broke off the call" };
    Error::new(Kind::Upstream, format!("{name} {cause}"))
}
