//! An answer under way.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use wires::Code;
use wires::Decoder;
use wires::WireError;

use super::attempt::error_chain;
use super::error::CallError;
use super::reader::Reader;
use crate::bridge::event::Event;
use crate::bridge::event::Kind;
use crate::bridge::provider::Provider;

/// The time for reading a stream to its end after its last event.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The answer of a provider, decoded as it arrives.
pub(super) struct UpstreamAnswer {
    provider: Arc<Provider>,
    /// Held until the last event.
    slot: Option<OwnedSemaphorePermit>,
    body: Incoming,
    reader: Reader,
    /// Decoded events.
    events: std::vec::IntoIter<Event>,
    /// What follows the decoded events.
    then: Then,
}

/// The state of the stream behind the events decoded so far.
enum Then {
    Read,
    Fail(WireError),
    End,
}

impl UpstreamAnswer {
    /// An answer whose head has arrived. Without a decoder, events pass through.
    pub(super) fn new(
        provider: Arc<Provider>,
        slot: OwnedSemaphorePermit,
        decoder: Option<Box<dyn Decoder>>,
        response: Response<Incoming>,
    ) -> Self {
        Self {
            provider,
            slot: Some(slot),
            body: response.into_body(),
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
        let (events, then) = loop {
            break match tokio::time::timeout(timeout, self.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let (events, error) = self.reader.push(&data);
                        (events, error.map_or(Then::Read, Then::Fail))
                    }
                    Err(_trailers) => continue,
                },
                Ok(None) => {
                    let (events, error) = self.reader.end();
                    (events, error.map_or(Then::End, Then::Fail))
                }
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

    fn truncated(&self, how: &str) -> WireError {
        WireError::new(Code::Truncated, format!("{}: the stream {how}", self.provider.id))
    }
}
