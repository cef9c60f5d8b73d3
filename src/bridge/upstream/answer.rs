//! An answer under way.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use wires::Code;
use wires::Decoder;
use wires::Reader;
use wires::WireError;

use super::attempt::error_chain;
use super::error::CallError;
use super::inflate::Inflate;
use crate::bridge::event::Event;
use crate::bridge::event::Kind;
use crate::bridge::provider::Provider;

/// The time for reading a stream to its end after its last event.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The time for token counts after the reason for the answer's end. Some servers never end the
/// stream then.
const ENDING_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer of a provider, decoded as it arrives.
pub(super) struct UpstreamAnswer {
    provider: Arc<Provider>,
    /// Held until the last event.
    slot: Option<OwnedSemaphorePermit>,
    body: Incoming,
    /// `None` if the body is plain.
    inflate: Option<Inflate>,
    reader: Reader,
    /// Decoded events.
    events: std::vec::IntoIter<Event>,
    /// The state after the decoded events.
    then: Then,
}

/// The state of the stream behind the events decoded so far.
enum Then {
    Read,
    Fail(WireError),
    End,
}

impl UpstreamAnswer {
    /// An answer whose head has arrived.
    pub(super) fn new(
        provider: Arc<Provider>,
        slot: OwnedSemaphorePermit,
        decoder: Box<dyn Decoder>,
        (response, inflate): (Response<Incoming>, Option<Inflate>),
    ) -> Self {
        Self {
            provider,
            slot: Some(slot),
            body: response.into_body(),
            inflate,
            reader: Reader::new(decoder),
            events: Vec::new().into_iter(),
            then: Then::Read,
        }
    }

    /// Returns the next event. Must not be called after the last one.
    pub(super) async fn next(&mut self) -> Result<Event, CallError> {
        loop {
            if let Some(event) = self.events.next() {
                return match event.kind() {
                    Kind::Failed(error) => Err(CallError::reported(&self.provider, error)),
                    Kind::Announcement
                    | Kind::Delta
                    | Kind::ItemDone(_)
                    | Kind::Completed(_)
                    | Kind::Rejected(_)
                    | Kind::Other => Ok(event),
                };
            }
            match &self.then {
                Then::Read => self.read(self.provider.idle).await,
                Then::Fail(error) => return Err(CallError::of_wire(&self.provider, error)),
                Then::End => {
                    let error = self.truncated("ended before its end");
                    return Err(CallError::of_wire(&self.provider, &error));
                }
            }
        }
    }

    /// Reads the stream to its end after the last event, so that its connection can be reused.
    pub(super) async fn drain(&mut self) {
        self.slot = None;
        while matches!(self.then, Then::Read) {
            self.read(DRAIN_TIMEOUT).await;
        }
    }

    /// Reads a chunk of the body.
    async fn read(&mut self, timeout: Duration) {
        let is_ending = self.reader.is_ending();
        let timeout = if is_ending { timeout.min(ENDING_TIMEOUT) } else { timeout };
        let (events, then) = loop {
            break match tokio::time::timeout(timeout, self.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.decode(&data),
                    Err(_trailers) => continue,
                },
                Ok(None) => self.end(),
                // The answer is whole; only its stream is not.
                Ok(Some(Err(_))) | Err(_) if is_ending => self.end(),
                Ok(Some(Err(error))) => {
                    let how = format!("broke off: {}", error_chain(&error));
                    (Vec::new(), Then::Fail(self.truncated(&how)))
                }
                Err(_elapsed) => {
                    let how = format!("stood still for {} ms", timeout.as_millis());
                    (Vec::new(), Then::Fail(self.truncated(&how)))
                }
            };
        };
        self.events = events.into_iter();
        self.then = then;
    }

    fn decode(&mut self, data: &[u8]) -> (Vec<Event>, Then) {
        let Some(inflate) = &mut self.inflate else {
            let (events, error) = self.reader.push(data);
            return (events, error.map_or(Then::Read, Then::Fail));
        };
        let (mut events, mut failed) = (Vec::new(), None);
        let reader = &mut self.reader;
        let inflated = inflate.push(data, |plain| {
            let (more, error) = reader.push(plain);
            events.extend(more);
            failed = error;
            failed.is_none()
        });
        match (failed, inflated) {
            (Some(error), _) => (events, Then::Fail(error)),
            (None, Err(error)) => {
                let id = &self.provider.id;
                let message = format!("{id}: the compressed stream is malformed: {error}");
                (events, Then::Fail(WireError::new(Code::InvalidStream, message)))
            }
            (None, Ok(())) => (events, Then::Read),
        }
    }

    fn end(&mut self) -> (Vec<Event>, Then) {
        let (events, error) = self.reader.end();
        (events, error.map_or(Then::End, Then::Fail))
    }

    fn truncated(&self, how: &str) -> WireError {
        WireError::new(Code::Truncated, format!("{}: the stream {how}", self.provider.id))
    }
}
