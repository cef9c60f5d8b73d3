//! One provider, called: a place in its queue, a request on a pooled connection, retries before the
//! first byte, and its stream turned into core's events as it comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Semaphore;

use super::ask::Ask;
use super::backend::Event;
use super::client::Client;
use super::provider::Provider;
use super::record::Record;
use super::sse;
use super::wire::Decoder;
use super::wire::Failure;
use super::wire::Outgoing;

/// How much of an error's body is read.
const ERROR_BYTES: usize = 64 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A provider that can be called.
#[derive(Debug, Clone)]
pub struct Upstream {
    provider: Arc<Provider>,
    client: Client,
    queue: Arc<Semaphore>,
}

/// Why a call came to nothing.
enum Refusal {
    /// The provider answered with an error status.
    Status(StatusCode, HeaderMap, Bytes),
    /// It could not be reached, or did not begin to answer.
    Unreachable(String),
}

impl Upstream {
    /// A provider behind the pooled client.
    pub fn new(provider: Provider, client: Client) -> Self {
        let queue = Arc::new(Semaphore::new(provider.max_concurrent));
        Self { provider: Arc::new(provider), client, queue }
    }

    /// Answers a call. Dropping the answer drops the provider's stream at once.
    pub fn answer(&self, ask: Ask) -> impl Stream<Item = Event> + Send + use<> {
        let this = self.clone();
        async_stream::stream! {
            let mut record = Record::new(&this.provider.id, &ask);
            // Never closed: the semaphore lives as long as its provider.
            let Ok(_place) = Arc::clone(&this.queue).acquire_owned().await else { return };
            record.queued();
            let outgoing = match this.encode(&ask) {
                Ok(outgoing) => outgoing,
                Err(failure) => {
                    yield this.failed(&failure, &mut record);
                    return;
                }
            };
            let response = match this.open(outgoing, &mut record).await {
                Ok(response) => response,
                Err(refusal) => {
                    yield this.refused(&refusal, &mut record);
                    return;
                }
            };
            let mut reader = Reader {
                parser: sse::Parser::default(),
                decoder: this.provider.api.wire().map(|wire| wire.decoder(&ask.body)),
            };
            let mut body = response.into_body();
            loop {
                let read = match tokio::time::timeout(this.provider.idle, body.frame()).await {
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => reader.push(&data),
                        Err(_trailers) => continue,
                    },
                    Ok(None) => {
                        let (events, failure) = reader.end();
                        for event in events {
                            yield event;
                        }
                        match failure {
                            Some(failure) => yield this.failed(&failure, &mut record),
                            None => record.end("completed"),
                        }
                        return;
                    }
                    Ok(Some(Err(error))) => Err(this.cut(&format!("broke off: {}", chain(&error)))),
                    Err(_) => Err(this.cut("stood still")),
                };
                match read {
                    Ok(events) => for event in events {
                        record.saw(&event);
                        yield event;
                    },
                    Err(failure) => {
                        yield this.failed(&failure, &mut record);
                        return;
                    }
                }
            }
        }
    }

    fn encode(&self, ask: &Ask) -> Result<Outgoing, Failure> {
        match self.provider.api.wire() {
            Some(wire) => wire.encode(&ask.body),
            None => Ok(Outgoing {
                path: "/responses".to_owned(),
                headers: Vec::new(),
                body: ask.body.clone(),
            }),
        }
    }

    fn cut(&self, how: &str) -> Failure {
        let message = format!("{}: the stream {how}", self.provider.id);
        Failure { code: "stream_cut", message, retryable: true }
    }

    /// Sends the request until the provider begins to answer, or it is no use.
    async fn open(
        &self,
        outgoing: Outgoing,
        record: &mut Record,
    ) -> Result<Response<Incoming>, Refusal> {
        let Outgoing { path, headers, body } = outgoing;
        let body = Bytes::from(body.to_string());
        loop {
            let attempts = record.attempt();
            let refusal = match self.send(&path, &headers, body.clone()).await {
                Ok(response) => {
                    record.first_byte();
                    return Ok(response);
                }
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
            request = request.header(*name, value);
        }
        for (name, value) in &self.provider.headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(body)).map_err(|error| unreachable(error.to_string()))?;
        let limit = self.provider.first_byte_timeout;
        let response = tokio::time::timeout(limit, self.client.request(request))
            .await
            .map_err(|_| unreachable(format!("no answer within {} ms", limit.as_millis())))?
            .map_err(|error| unreachable(chain(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ERROR_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(Refusal::Status(head.status, head.headers, body))
    }

    /// A failure as core is told of it.
    fn failed(&self, failure: &Failure, record: &mut Record) -> Event {
        record.end(failure.code);
        Event::of(&json!({
            "type": "response.failed",
            "response": {
                "id": format!("resp_{}", uuid::Uuid::now_v7().simple()),
                "error": {
                    "code": failure.code,
                    "message": self.provider.redact(failure.message.clone()),
                },
            },
        }))
    }

    /// The `error` of an error's body, as core can read it: it waits for ever over one whose code is a
    /// number.
    fn error_object(&self, status: StatusCode, body: &[u8]) -> Value {
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = parsed.get("error").unwrap_or(&parsed);
        let text = |member: &str| match error.get(member) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let message = text("message").unwrap_or_else(|| {
            let body: String = String::from_utf8_lossy(body).chars().take(500).collect();
            format!("{} answered {status}: {body}", self.provider.id)
        });
        let message = self.provider.redact(message);
        json!({ "code": text("code"), "type": text("type"), "message": message })
    }

    /// A refusal as core is told of it.
    fn refused(&self, refusal: &Refusal, record: &mut Record) -> Event {
        match (refusal, self.provider.api.wire()) {
            (Refusal::Status(status, _, body), Some(wire)) => {
                self.failed(&wire.failure(status.as_u16(), body), record)
            }
            // Core knows the errors of its own API best; it gets what it would have got over HTTP.
            (Refusal::Status(status, headers, body), None) => {
                record.end(status.as_str());
                let error = self.error_object(*status, body);
                let headers: serde_json::Map<String, Value> = headers
                    .iter()
                    .filter_map(|(name, value)| {
                        Some((name.to_string(), value.to_str().ok()?.into()))
                    })
                    .collect();
                Event::of(&json!({
                    "type": "error",
                    "status": status.as_u16(),
                    "error": error,
                    "headers": headers,
                }))
            }
            (Refusal::Unreachable(message), _) => {
                // It was tried as often as is of use: this code ends the turn instead of having core
                // try as often again.
                let message = message.clone();
                self.failed(&Failure { code: "invalid_prompt", message, retryable: false }, record)
            }
        }
    }
}

impl Refusal {
    /// How long to wait before the request is sent again; `None` where it is not.
    fn pause(&self, attempts: u32, retries: u32) -> Option<Duration> {
        if attempts > retries {
            return None;
        }
        let asked = match self {
            Self::Unreachable(_) => None,
            Self::Status(status, headers, _) => {
                // 529 is Anthropic's word for overloaded.
                if !matches!(status.as_u16(), 429 | 502 | 503 | 504 | 529) {
                    return None;
                }
                headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok())
            }
        };
        if let Some(seconds) = asked {
            let pause = Duration::from_secs(seconds);
            return (pause <= LONGEST_PAUSE).then_some(pause);
        }
        // Full jitter: conversations that failed together do not come back together.
        let ceiling = FIRST_PAUSE.saturating_mul(1 << attempts.min(7)).min(LONGEST_PAUSE);
        Some(ceiling.mul_f64(fastrand::f64()))
    }
}

/// Turns a provider's bytes into core's events.
struct Reader {
    parser: sse::Parser,
    decoder: Option<Box<dyn Decoder>>,
}

impl Reader {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        let read = self.parser.push(bytes).map_err(|error| Failure {
            code: "invalid_stream",
            message: error.to_string(),
            retryable: false,
        })?;
        let mut events = Vec::with_capacity(read.len());
        for event in read {
            events.extend(self.translate(event)?);
        }
        Ok(events)
    }

    fn translate(&mut self, event: sse::Event) -> Result<Vec<Event>, Failure> {
        match &mut self.decoder {
            Some(decoder) => {
                Ok(decoder.event(&event.name, &event.data)?.iter().map(Event::of).collect())
            }
            None => Ok(vec![passed(event)]),
        }
    }

    /// What is left at the end of the stream, and what was wrong with it.
    fn end(mut self) -> (Vec<Event>, Option<Failure>) {
        let mut events = Vec::new();
        if let Some(event) = self.parser.end() {
            match self.translate(event) {
                Ok(last) => events.extend(last),
                Err(failure) => return (events, Some(failure)),
            }
        }
        // Of a Responses stream, core itself says what is missing.
        match self.decoder.as_deref_mut().map(Decoder::end) {
            Some(Ok(last)) => events.extend(last.iter().map(Event::of)),
            Some(Err(failure)) => return (events, Some(failure)),
            None => {}
        }
        (events, None)
    }
}

/// An event that is core's already.
fn passed(event: sse::Event) -> Event {
    let sse::Event { name, data } = event;
    if name != "message" {
        return Event { kind: name, json: data };
    }
    // Some servers leave the name out; the type is in the data too.
    let parsed: Value = serde_json::from_str(&data).unwrap_or_default();
    let kind = parsed.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    Event { kind, json: data }
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
