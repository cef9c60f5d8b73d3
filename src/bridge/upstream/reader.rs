//! Turns a provider's bytes into core's events.

use crate::bridge::backend::Event;
use crate::bridge::sse;
use crate::bridge::wire::Decoder;
use crate::bridge::wire::Failure;
use crate::bridge::wire::responses;

/// What reads one answer.
pub(super) struct Reader {
    parser: sse::Parser,
    decoder: Option<Box<dyn Decoder>>,
}

impl Reader {
    pub(super) fn new(decoder: Option<Box<dyn Decoder>>) -> Self {
        Self { parser: sse::Parser::default(), decoder }
    }

    /// What the bytes say, and what is wrong with them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (Vec<Event>, Option<Failure>) {
        let read = match self.parser.push(bytes) {
            Ok(read) => read,
            Err(error) => {
                let message = error.to_string();
                let failure = Failure { code: "invalid_stream", message, retryable: false };
                return (Vec::new(), Some(failure));
            }
        };
        let mut events = Vec::with_capacity(read.len());
        for event in read {
            match self.translate(event) {
                Ok(translated) => events.extend(translated),
                Err(failure) => return (events, Some(failure)),
            }
        }
        (events, None)
    }

    fn translate(&mut self, event: sse::Event) -> Result<Vec<Event>, Failure> {
        match &mut self.decoder {
            Some(decoder) => {
                Ok(decoder.event(&event.name, &event.data)?.iter().map(Event::of).collect())
            }
            None => Ok(vec![responses::passed(event)]),
        }
    }

    /// What is left at the end of the stream, and what was wrong with it.
    pub(super) fn end(&mut self) -> (Vec<Event>, Option<Failure>) {
        let mut events = Vec::new();
        if let Some(event) = self.parser.end() {
            match self.translate(event) {
                Ok(last) => events.extend(last),
                Err(failure) => return (events, Some(failure)),
            }
        }
        match self.decoder.as_deref_mut().map(Decoder::end) {
            Some(Ok(last)) => events.extend(last.iter().map(Event::of)),
            Some(Err(failure)) => return (events, Some(failure)),
            None => {}
        }
        (events, None)
    }
}
