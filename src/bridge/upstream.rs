//! One provider, called: a place in its queue, a request on a pooled connection, retries before the
//! first byte, and its stream turned into core's events as it comes.

mod reader;
mod setback;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::Method;
use http::Request;
use http::Response;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use super::ask::Ask;
use super::backend::Event;
use super::client::Client;
use super::credentials::Credentials;
use super::meter::Meter;
use super::provider::Api;
use super::provider::Provider;
use super::request::ModelRequest;
use super::wire::Decoder;
use super::wire::Failure;
use super::wire::Outgoing;
use reader::Reader;
use setback::Refusal;
pub(super) use setback::Setback;

/// How much of an error's body is read.
const ERROR_BYTES: usize = 64 * 1024;
/// How long the rest of a stream is read after its last event.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// A provider that can be called.
#[derive(Debug, Clone)]
pub struct Upstream {
    id: Arc<str>,
    provider: Arc<Provider>,
    client: Client,
    credentials: Credentials,
    places: Arc<Semaphore>,
    /// Room to wait for a place.
    room: Arc<Semaphore>,
}

/// An answer under way.
struct Begun {
    place: OwnedSemaphorePermit,
    /// `None` where the provider speaks core's own language.
    decoder: Option<Box<dyn Decoder>>,
    response: Response<Incoming>,
}

/// A request, ready to be sent as often as need be.
struct Written {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// What one read of the provider's stream brought.
struct Read {
    events: Vec<Event>,
    failure: Option<Failure>,
    ended: bool,
}

impl Upstream {
    /// A provider behind a pooled client.
    pub fn new(provider: Provider, client: Client, credentials: Credentials) -> Self {
        Self {
            id: provider.id.as_str().into(),
            places: Arc::new(Semaphore::new(provider.max_concurrent)),
            room: Arc::new(Semaphore::new(provider.max_waiting)),
            provider: Arc::new(provider),
            client,
            credentials,
        }
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn api(&self) -> Api {
        self.provider.api
    }

    /// Asks. The last item is core's last event, or why there is none. Dropping the answer drops the
    /// provider's stream at once.
    pub(super) fn call(
        &self,
        ask: Ask,
        mut meter: Meter,
    ) -> impl Stream<Item = Result<Event, Setback>> + Send + use<> {
        let this = self.clone();
        async_stream::stream! {
            let this = match this.credentials.apply(&this.provider, &ask) {
                Ok(provider) => Self { provider, ..this },
                Err(failure) => {
                    yield Err(this.failed(&failure, &mut meter));
                    return;
                }
            };
            let begun = this.begin(&ask.request, &mut meter).await;
            let (place, decoder, response) = match begun {
                Ok(Begun { place, decoder, response }) => (place, decoder, response),
                Err(setback) => {
                    yield Err(setback);
                    return;
                }
            };
            // A history is not kept for as long as its answer lasts.
            drop(ask);
            let mut reader = Reader::new(decoder);
            let mut body = response.into_body();
            loop {
                let read = this.read(&mut body, &mut reader, this.provider.idle).await;
                for event in read.events {
                    if matches!(event.kind.as_str(), "response.failed" | "error") {
                        yield Err(this.reported(&event, &mut meter));
                        return;
                    }
                    meter.saw(&event);
                    let last = event.is_last();
                    yield Ok(event);
                    if last {
                        drop(place);
                        // What follows says nothing; a connection is used again once it is read.
                        while !this.read(&mut body, &mut reader, LEFTOVERS).await.ended {}
                        return;
                    }
                }
                if let Some(failure) = read.failure {
                    yield Err(this.failed(&failure, &mut meter));
                    return;
                }
                if read.ended {
                    yield Err(this.failed(&this.cut("ended before its end"), &mut meter));
                    return;
                }
            }
        }
    }

    /// Gets a place and has the provider begin to answer.
    async fn begin(&self, request: &ModelRequest, meter: &mut Meter) -> Result<Begun, Setback> {
        let Some(place) = self.place().await else {
            let Provider { id, max_concurrent, max_waiting, .. } = &*self.provider;
            let message =
                format!("{max_concurrent} calls are under way and {max_waiting} wait for {id}");
            let failure = Failure { code: "server_is_overloaded", message, retryable: true };
            return Err(self.given_up(&failure, None, meter));
        };
        meter.queued();
        let (written, decoder) =
            self.encode(request).map_err(|failure| self.failed(&failure, meter))?;
        match self.open(written, meter).await {
            Ok(response) => Ok(Begun { place, decoder, response }),
            Err(refusal) => Err(self.refused(&refusal, meter)),
        }
    }

    /// A place among the calls; `None` where as many wait as may.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody overtakes: while others wait, no place is free.
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let _room = self.room.try_acquire().ok()?;
        // Never closed: the semaphore lives as long as its provider.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    async fn read(&self, body: &mut Incoming, reader: &mut Reader, limit: Duration) -> Read {
        let failed = |failure| Read { events: Vec::new(), failure: Some(failure), ended: true };
        loop {
            return match tokio::time::timeout(limit, body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let (events, failure) = reader.push(&data);
                        Read { events, ended: failure.is_some(), failure }
                    }
                    Err(_trailers) => continue,
                },
                Ok(None) => {
                    let (events, failure) = reader.end();
                    Read { events, failure, ended: true }
                }
                Ok(Some(Err(error))) => failed(self.cut(&format!("broke off: {}", chain(&error)))),
                Err(_) => failed(self.cut(&format!("stood still for {} ms", limit.as_millis()))),
            };
        }
    }

    /// The request that asks this provider, its body written out, and who reads the answer, where it is
    /// to be translated.
    fn encode(
        &self,
        request: &ModelRequest,
    ) -> Result<(Written, Option<Box<dyn Decoder>>), Failure> {
        let Some(wire) = self.provider.api.wire() else {
            let (path, headers) = ("/responses".to_owned(), Vec::new());
            return Ok((Written { path, headers, body: request.to_json().into() }, None));
        };
        let request = request.to_value().map_err(|error| Failure {
            code: "invalid_prompt",
            message: format!("{}: the request cannot be translated: {error}", self.provider.id),
            retryable: false,
        })?;
        let Outgoing { path, headers, body } = wire.encode(&request)?;
        let written = Written { path, headers, body: body.to_string().into() };
        Ok((written, Some(wire.decoder(&request))))
    }

    fn cut(&self, how: &str) -> Failure {
        let message = format!("{}: the stream {how}", self.provider.id);
        Failure { code: "stream_cut", message, retryable: true }
    }

    /// Sends the request until the provider begins to answer, or it is no use.
    async fn open(
        &self,
        written: Written,
        meter: &mut Meter,
    ) -> Result<Response<Incoming>, Refusal> {
        let Written { path, headers, body } = written;
        loop {
            let attempts = meter.attempt();
            let refusal = match self.send(&path, &headers, body.clone(), meter).await {
                Ok(response) => return Ok(response),
                Err(refusal) => refusal,
            };
            let Some(pause) = refusal.pause(attempts, self.provider.retries) else {
                return Err(refusal);
            };
            tracing::info!(provider = self.provider.id, attempts, ?pause, "asking the model again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn send(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        meter: &mut Meter,
    ) -> Result<Response<Incoming>, Refusal> {
        let Provider { id, base_url, query, .. } = &*self.provider;
        let unreachable = |what: String| Refusal::Unreachable(format!("{id}: {what}"));
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
        for (name, value) in headers {
            // An operator may pin a version of the API. Betas add up: the wire needs its own.
            let pinned = self.provider.headers.iter().any(|(own, _)| own == name);
            if !pinned || *name == "anthropic-beta" {
                request = request.header(*name, value);
            }
        }
        for (name, value) in &self.provider.headers {
            request = request.header(name, value);
        }
        let mut request =
            request.body(Full::new(body)).map_err(|error| unreachable(error.to_string()))?;
        meter.span().write_into(request.headers_mut());
        let limit = self.provider.first_byte_timeout;
        let response = tokio::time::timeout(limit, self.client.pool().request(request))
            .await
            .map_err(|_| unreachable(format!("no answer within {} ms", limit.as_millis())))?
            .map_err(|error| unreachable(chain(&error)))?;
        meter.answered(response.status().as_u16());
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ERROR_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(Refusal::Status(head.status, head.headers, body))
    }
}

/// The causes of an error, outermost first: hyper's own message says only where it happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
