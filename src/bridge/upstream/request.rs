//! A request to a provider, repeated while that is useful: after a pause if the provider is busy or
//! down, at once if it refused a part that can be left out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::Response;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Collected;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Incoming;
use serde_json::Value;
use wires::Code;
use wires::Decoder;
use wires::Outgoing;
use wires::Quirks;
use wires::WireError;

use super::attempt::AttemptError;
use super::attempt::Refusal;
use super::attempt::error_chain;
use super::inflate::Inflate;
use super::learned::Learned;
use crate::bridge::client::Client;
use crate::bridge::provider::Provider;
use crate::bridge::recorder::CallRecorder;
use crate::bridge::request::ModelRequest;

/// The most bytes that are read of the body of an error.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// The time for reading it.
const ERROR_TIMEOUT: Duration = Duration::from_secs(10);
/// The most changes of one request after refusals.
const MAX_CHANGES: u32 = 8;

/// A request, encoded once for all attempts.
pub(super) struct EncodedRequest {
    model: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    quirks: Quirks,
    learned: Arc<Learned>,
    changes: u32,
    /// Whether `quirks` holds what this request has taught.
    has_learned: bool,
    /// The first answer that the path does not exist, if another path is tried.
    misplaced: Option<AttemptError>,
}

impl EncodedRequest {
    /// Encodes a request, and returns the decoder of its answer.
    pub(super) fn new(
        provider: &Provider,
        request: &ModelRequest,
        learned: &Arc<Learned>,
    ) -> Result<(Self, Box<dyn Decoder>), WireError> {
        let api = provider.api;
        let quirks = learned.quirks(provider, request.model());
        let parsed = || {
            request.to_value().map_err(|error| {
                let message = format!("{}: the request cannot be translated: {error}", provider.id);
                WireError::new(Code::InvalidRequest, message)
            })
        };
        let (outgoing, decoder) = match api.wire() {
            Some(wire) => {
                let request = parsed()?;
                (Some(wire.encode(&request)?), api.decoder(&request, &provider.id))
            }
            None => (None, api.decoder(&Value::Null, &provider.id)),
        };
        let (path, headers, body) = match outgoing {
            Some(Outgoing { path, headers, mut body }) => {
                quirks.apply(&mut body);
                (path, headers, body.to_string())
            }
            None if quirks.is_empty() => ("/responses".to_owned(), Vec::new(), request.to_json()),
            None => {
                let mut body = parsed()?;
                quirks.apply(&mut body);
                ("/responses".to_owned(), Vec::new(), body.to_string())
            }
        };
        let base_url = &provider.base_url;
        let mut path = api.path(base_url, &path).to_owned();
        if learned.is_at_other_path() {
            path = api.other_path(base_url, &path).unwrap_or(path);
        }
        let encoded = Self {
            model: request.model().to_owned(),
            path,
            headers,
            body: body.into(),
            quirks,
            learned: Arc::clone(learned),
            changes: 0,
            has_learned: false,
            misplaced: None,
        };
        Ok((encoded, decoder))
    }

    /// Sends the request until the provider begins to answer or a further attempt is useless.
    pub(super) async fn send(
        mut self,
        provider: &Provider,
        client: &Client,
        recorder: &mut CallRecorder,
    ) -> Result<(Response<Incoming>, Option<Inflate>), AttemptError> {
        let mut failures = 0;
        loop {
            recorder.attempt();
            let error = match self.attempt(provider, client, recorder).await {
                Ok(answer) => {
                    self.succeeded(provider);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let error = match self.change(provider, error) {
                None => continue,
                Some(error) => error,
            };
            failures += 1;
            let Some(pause) = error.pause(failures, provider.retries) else {
                return Err(error);
            };
            tracing::info!(provider = provider.id, failures, ?pause, "retrying the model call");
            tokio::time::sleep(pause).await;
        }
    }

    /// Notes what the answer proves.
    fn succeeded(&self, provider: &Provider) {
        if self.has_learned {
            self.learned.remember(provider, &self.model, &self.quirks);
        }
        if self.misplaced.is_some() {
            tracing::warn!(provider = provider.id, "base_url lacks /v1, which is added");
            self.learned.found_at_other_path();
        }
    }

    /// Changes the request after a refusal that tells how. Returns the error if there is nothing to
    /// change.
    fn change(&mut self, provider: &Provider, error: AttemptError) -> Option<AttemptError> {
        let AttemptError::Status(refusal) = &error else { return Some(error) };
        if self.changes >= MAX_CHANGES {
            return Some(error);
        }
        let is_missing = matches!(refusal.status.as_u16(), 404 | 405);
        if is_missing && let Some(first) = self.misplaced.take() {
            // Neither path exists: what was asked for counts.
            self.changes = MAX_CHANGES;
            return Some(first);
        }
        if let Some(next) = self.learn(refusal) {
            self.quirks = next;
            self.changes += 1;
            self.has_learned = true;
            return None;
        }
        let other = provider.api.other_path(&provider.base_url, &self.path);
        if is_missing
            && refusal.error.code != Code::ModelNotFound
            && !self.path.starts_with("/v1/")
            && let Some(other) = other
        {
            self.path = other;
            self.changes += 1;
            self.misplaced = Some(error);
            return None;
        }
        Some(error)
    }

    /// Learns a quirk, and applies it to the body.
    fn learn(&mut self, refusal: &Refusal) -> Option<Quirks> {
        // Templates of local servers fail with 500, and some answer 404.
        if !matches!(refusal.status.as_u16(), 400 | 404 | 405 | 413 | 415 | 422 | 500 | 501) {
            return None;
        }
        let mut body: Value = serde_json::from_slice(&self.body).ok()?;
        let next = self.quirks.learn(&body, &String::from_utf8_lossy(&refusal.body))?;
        next.apply(&mut body);
        self.body = body.to_string().into();
        Some(next)
    }

    async fn attempt(
        &self,
        provider: &Provider,
        client: &Client,
        recorder: &mut CallRecorder,
    ) -> Result<(Response<Incoming>, Option<Inflate>), AttemptError> {
        let id = &provider.id;
        let unreachable = |cause: String| AttemptError::Unreachable(format!("{id}: {cause}"));
        let mut request = self.to_http(provider).map_err(|error| unreachable(error.to_string()))?;
        recorder.span().write_into(request.headers_mut());
        let timeout = provider.first_byte_timeout;
        let response = tokio::time::timeout(timeout, client.pool().request(request))
            .await
            .map_err(|_| {
                let millis = timeout.as_millis();
                AttemptError::TimedOut(format!(
                    "{id}: no answer within {millis} ms (first_byte_timeout_ms)"
                ))
            })?
            .map_err(|error| unreachable(error_chain(&error)))?;
        recorder.answered(response.status().as_u16());
        let inflate = Inflate::of(response.headers());
        if response.status().is_success() {
            let inflate = inflate.map_err(|encoding| {
                AttemptError::Unreadable(format!(
                    "{id}: content-encoding: expected identity or gzip, got {encoding}"
                ))
            })?;
            return Ok((response, inflate));
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ERROR_BYTES).collect();
        let body = tokio::time::timeout(ERROR_TIMEOUT, body).await;
        let body = body.ok().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
        let body = plain(inflate.ok().flatten(), body);
        let error = provider.api.error(head.status.as_u16(), &body);
        let (status, headers): (_, HeaderMap) = (head.status, head.headers);
        Err(AttemptError::Status(Box::new(Refusal { status, headers, body, error })))
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
            // Compressed events would wait for each other.
            .header(header::ACCEPT_ENCODING, "identity")
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

/// Decodes the body of an error, as far as it is bounded and can be decoded.
fn plain(inflate: Option<Inflate>, body: Bytes) -> Bytes {
    let Some(mut inflate) = inflate else { return body };
    let mut plain = Vec::new();
    let decoded = inflate.push(&body, |bytes| {
        plain.extend(bytes.iter().take(MAX_ERROR_BYTES.saturating_sub(plain.len())));
        plain.len() < MAX_ERROR_BYTES
    });
    match decoded {
        Ok(()) => plain.into(),
        Err(_) => body,
    }
}
