//! Server-sent events (WHATWG HTML, section 9.2.6), parsed from chunks of any size.

use std::borrow::Cow;

/// The largest line or event; no provider sends more.
const MAX_EVENT_BYTES: usize = 32 << 20;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The name; `message` if the event has none.
    pub name: String,
    /// The data, its lines joined.
    pub data: String,
}

/// An incremental parser: the event under way, and the line not yet complete.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
}

/// An event exceeds [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub struct TooLarge;

impl Parser {
    /// Takes a chunk and returns the events that it completes.
    ///
    /// # Errors
    /// An event is too large.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLarge> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() + self.data.len() > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
            if self.line.is_empty() && piece.ends_with(b"\n") {
                // Most lines arrive whole and are read in place.
                events.extend(self.line(&text(piece)));
                continue;
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                events.extend(self.line(&text(&line)));
            }
        }
        Ok(events)
    }

    /// Ends the stream. A last event counts even without its empty line, which providers omit.
    pub fn end(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let last = self.line(&text(&line));
        last.or_else(|| self.event())
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            return self.event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            // Comments, ids and retry times are not used.
            _ => {}
        }
        None
    }

    fn event(&mut self) -> Option<Event> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        std::mem::take(&mut self.has_data).then(|| Event {
            name: if name.is_empty() { "message".to_owned() } else { name },
            data,
        })
    }
}

/// Decodes bytes, replacing invalid UTF-8 with U+FFFD. The strict check is faster and nearly always
/// passes.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::default();
        let mut events: Vec<Event> =
            pieces.iter().flat_map(|piece| parser.push(piece).unwrap()).collect();
        events.extend(parser.end());
        events
    }

    const STREAM: &str = ": hello\r\nevent: one\r\nid: 7\r\ndata: {\"a\":\r\ndata:1}\r\n\r\n\
        data: täst\n\nevent: x\n\ndata: [DONE]";

    #[test]
    fn events_do_not_depend_on_chunks() {
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        let expected =
            [event("one", "{\"a\":\n1}"), event("message", "täst"), event("message", "[DONE]")];
        assert_eq!(all(&[STREAM.as_bytes()]), expected);
        for at in 0..STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(at);
            assert_eq!(all(&[head, tail]), expected, "split at {at}");
        }
        let single: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(all(&single), expected);
    }

    proptest! {
        #[test]
        fn garbage_is_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32)) {
            let mut parser = Parser::default();
            for piece in &pieces {
                let _ = parser.push(piece);
            }
            parser.end();
        }
    }
}
