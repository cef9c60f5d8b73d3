//! A request to a provider.

use bytes::Bytes;
use http::Method;
use http::Request;
use http::Response;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Collected;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Incoming;
use wires::Code;
use wires::Decoder;
use wires::Outgoing;
use wires::WireError;

use super::attempt::AttemptError;
use super::attempt::error_chain;
use crate::bridge::client::Client;
use crate::bridge::provider::Provider;
use crate::bridge::recorder::CallRecorder;
use crate::bridge::request::ModelRequest;

/// The most bytes that are read of the body of an error.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A request, encoded once for all attempts.
pub(super) struct EncodedRequest {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl EncodedRequest {
    /// Encodes a request, and returns the decoder of its answer if the API differs from core's.
    pub(super) fn new(
        provider: &Provider,
        request: &ModelRequest,
    ) -> Result<(Self, Option<Box<dyn Decoder>>), WireError> {
        let Some(wire) = provider.api.wire() else {
            let (path, headers) = ("/responses".to_owned(), Vec::new());
            return Ok((Self { path, headers, body: request.to_json().into() }, None));
        };
        let request = request.to_value().map_err(|error| {
            let message = format!("{}: the request cannot be translated: {error}", provider.id);
            WireError::new(Code::InvalidPrompt, message)
        })?;
        let Outgoing { path, headers, body } = wire.encode(&request)?;
        let encoded = Self { path, headers, body: body.to_string().into() };
        Ok((encoded, Some(wire.decoder(&request))))
    }

    /// Sends the request until the provider begins to answer or a further attempt is useless.
    pub(super) async fn send(
        self,
        provider: &Provider,
        client: &Client,
        recorder: &mut CallRecorder,
    ) -> Result<Response<Incoming>, AttemptError> {
        loop {
            let attempts = recorder.attempt();
            let error = match self.attempt(provider, client, recorder).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let Some(pause) = error.pause(attempts, provider.retries) else {
                return Err(error);
            };
            tracing::info!(provider = provider.id, attempts, ?pause, "retrying the model call");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        provider: &Provider,
        client: &Client,
        recorder: &mut CallRecorder,
    ) -> Result<Response<Incoming>, AttemptError> {
        let unreachable =
            |cause: String| AttemptError::Unreachable(format!("{}: {cause}", provider.id));
        let mut request = self.to_http(provider).map_err(|error| unreachable(error.to_string()))?;
        recorder.span().write_into(request.headers_mut());
        let timeout = provider.first_byte_timeout;
        let response = tokio::time::timeout(timeout, client.pool().request(request))
            .await
            .map_err(|_| unreachable(format!("no answer within {} ms", timeout.as_millis())))?
            .map_err(|error| unreachable(error_chain(&error)))?;
        recorder.answered(response.status().as_u16());
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ERROR_BYTES).collect().await;
        let body = body.map(Collected::to_bytes).unwrap_or_default();
        Err(AttemptError::Status { status: head.status, headers: head.headers, body })
    }

    fn to_http(&self, provider: &Provider) -> Result<Request<Full<Bytes>>, http::Error> {
        let Provider { base_url, query, .. } = provider;
        let path = &self.path;
        let joint = match (query.is_empty(), path.contains('?')) {
            (true, _) => "",
            (false, true) => "&",
            (false, false) => "?",
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{base_url}{path}{joint}{query}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "text/event-stream")
            .header(header::USER_AGENT, concat!("codex-gateway/", env!("CARGO_PKG_VERSION")));
        let is_set = |name: &str| provider.headers.iter().any(|(set, _)| *set == name);
        for (name, value) in &self.headers {
            // An operator may pin a version of the API. Betas add up: the wire needs its own.
            if !is_set(name) || *name == "anthropic-beta" {
                request = request.header(*name, value);
            }
        }
        for (name, value) in &provider.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body.clone()))
    }
}
