//! Server-sent events (WHATWG HTML, section 9.2.6), parsed from chunks of any size.

use std::borrow::Cow;

use crate::json::EXCERPT_CHARS;
use crate::json::excerpt;

/// The largest line or event; no provider sends more.
const MAX_EVENT_BYTES: usize = 32 << 20;
/// What is kept of the text beside events.
const MAX_STRAY_BYTES: usize = 2000;
/// The name of an event without one.
const UNNAMED: &str = "message";

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
    /// Whether a line has been read: only the first may begin with a byte order mark.
    begun: bool,
    /// Whether the last byte was CR, to which an LF at the start of the next chunk belongs.
    after_cr: bool,
    /// The start of the first lines that are no field.
    stray: String,
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
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(after) = rest.strip_prefix(b"\n")
            {
                rest = after;
                continue;
            }
            // A line ends with LF, CR LF or CR.
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + piece.len() + self.data.len() > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
            let Some((terminator, after)) = after.split_first() else {
                self.line.extend_from_slice(piece);
                break;
            };
            rest = after;
            self.after_cr = *terminator == b'\r';
            if self.line.is_empty() {
                // Most lines arrive whole and are read in place.
                self.line(&text(piece), &mut events);
            } else {
                self.line.extend_from_slice(piece);
                let line = std::mem::take(&mut self.line);
                self.line(&text(&line), &mut events);
            }
        }
        Ok(events)
    }

    /// Ends the stream. A last event counts even without its empty line, which providers omit.
    pub fn end(&mut self) -> Vec<Event> {
        let line = std::mem::take(&mut self.line);
        let mut last = Vec::new();
        self.line(&text(&line), &mut last);
        last.extend(self.event());
        last
    }

    /// The start of what the stream holds beside events, such as the text of a proxy's error.
    pub fn stray(&self) -> &str {
        &self.stray
    }

    fn line(&mut self, line: &str, events: &mut Vec<Event>) {
        let line = match std::mem::replace(&mut self.begun, true) {
            true => line,
            false => line.strip_prefix('\u{feff}').unwrap_or(line),
        };
        if line.is_empty() {
            events.extend(self.event());
            return;
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
            "" | "id" | "retry" => {}
            // Servers that fail in mid-stream write their error as it is.
            _ if line.starts_with('{') && line.ends_with('}') => {
                events.extend(self.event());
                events.push(Event { name: UNNAMED.to_owned(), data: line.to_owned() });
            }
            _ if self.stray.len() < MAX_STRAY_BYTES => {
                self.stray.push_str(&excerpt(line, EXCERPT_CHARS));
                self.stray.push('\n');
            }
            _ => {}
        }
    }

    fn event(&mut self) -> Option<Event> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        std::mem::take(&mut self.has_data)
            .then(|| Event { name: if name.is_empty() { UNNAMED.to_owned() } else { name }, data })
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

    const STREAM: &str = "\u{feff}: hello\r\nevent: one\r\nid: 7\r\ndata: {\"a\":\r\ndata:1}\r\n\r\n\
        data: täst\n\nevent: x\n\ndata: by CR\r\rdata: [DONE]";

    #[test]
    fn events_do_not_depend_on_chunks() {
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        let expected = [
            event("one", "{\"a\":\n1}"),
            event("message", "täst"),
            event("message", "by CR"),
            event("message", "[DONE]"),
        ];
        assert_eq!(all(&[STREAM.as_bytes()]), expected);
        for at in 0..STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(at);
            assert_eq!(all(&[head, tail]), expected, "split at {at}");
        }
        let single: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(all(&single), expected);
    }

    #[test]
    fn an_error_amid_events_is_an_event() {
        let events = all(&[b"data: {\"a\":1}\n{\"error\":\"out of memory\"}\n"]);
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, ["{\"a\":1}", "{\"error\":\"out of memory\"}"]);
    }

    #[test]
    fn text_that_is_no_event_is_kept() {
        let mut parser = Parser::default();
        parser.push(b"upstream connect error\nretry: 3\nreset reason: overflow\n").unwrap();
        assert_eq!(parser.stray(), "upstream connect error\nreset reason: overflow\n");
        parser.push(&[b'x'; 100_000]).unwrap();
        parser.end();
        assert!(parser.stray().len() < 5000);
    }

    /// Streams, and bytes that hold what a stream is made of.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            Just("\n"),
            Just("\r"),
            Just("\r\n"),
            Just("\n\n"),
            Just("data: "),
            Just("data:"),
            Just("event: x"),
            Just(":"),
            Just("{\"a\":1}"),
            Just("é"),
            Just("\u{feff}"),
            Just("id"),
        ]
        .prop_map(|text| text.as_bytes().to_vec());
        let garbage = prop::collection::vec(any::<u8>(), 0..8);
        prop::collection::vec(prop_oneof![4 => token, 1 => garbage], 0..40)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(bytes in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(all(&pieces), all(&[&bytes]));
            prop_assert_eq!(all(&single), all(&[&bytes]));
        }
    }
}
