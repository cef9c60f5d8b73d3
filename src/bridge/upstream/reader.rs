//! Decodes a provider's bytes into core's events.

use wires::Code;
use wires::Decoder;
use wires::Event;
use wires::WireError;
use wires::responses;
use wires::sse;

/// The decoder of one answer.
pub(super) struct Reader {
    parser: sse::Parser,
    /// `None` if the provider speaks the Responses API.
    decoder: Option<Box<dyn Decoder>>,
}

impl Reader {
    pub(super) fn new(decoder: Option<Box<dyn Decoder>>) -> Self {
        Self { parser: sse::Parser::default(), decoder }
    }

    /// Decodes a chunk. Returns the events up to the first error, and that error.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (Vec<Event>, Option<WireError>) {
        let read = match self.parser.push(bytes) {
            Ok(read) => read,
            Err(error) => {
                // The same answer would be as large again.
                let (code, message) = (Code::InvalidStream, error.to_string());
                return (Vec::new(), Some(WireError { code, message, retryable: false }));
            }
        };
        let mut events = Vec::with_capacity(read.len());
        for event in read {
            if let Err(error) = self.decode(event, &mut events) {
                return (events, Some(error));
            }
        }
        (events, None)
    }

    /// Decodes the end of the stream.
    pub(super) fn end(&mut self) -> (Vec<Event>, Option<WireError>) {
        let mut events = Vec::new();
        if let Some(event) = self.parser.end()
            && let Err(error) = self.decode(event, &mut events)
        {
            return (events, Some(error));
        }
        match self.decoder.as_deref_mut().map(Decoder::end) {
            Some(Ok(last)) => events.extend(last),
            Some(Err(error)) => return (events, Some(error)),
            None => {}
        }
        (events, None)
    }

    fn decode(&mut self, event: sse::Event, events: &mut Vec<Event>) -> Result<(), WireError> {
        match &mut self.decoder {
            Some(decoder) => events.extend(decoder.event(&event.name, &event.data)?),
            None => events.push(responses::pass(event)),
        }
        Ok(())
    }
}
