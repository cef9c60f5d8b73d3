//! Decodes the body of an answer, whatever its framing: server-sent events, as asked for, or JSON,
//! which servers send that do not stream an answer, an error or a model. The framing is read from
//! the first byte: content types are wrong too often.

use crate::Decoder;
use crate::Event;
use crate::WireError;
use crate::documents::Splitter;
use crate::error::Code;
use crate::failure;
use crate::json::EXCERPT_CHARS;
use crate::json::excerpt;
use crate::sse;

/// The name of an event that is a document of its own.
pub(crate) const DOCUMENT: &str = "document";

/// The most bytes that are kept of a body that is neither events nor JSON.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// The reader of one answer.
pub struct Reader {
    decoder: Box<dyn Decoder>,
    framing: Framing,
}

enum Framing {
    /// Nothing but white space so far.
    Unknown(Vec<u8>),
    Events(sse::Parser),
    Documents(Splitter),
    /// HTML or XML: the page of a proxy, or of a server at whose address there is no API.
    Markup(Vec<u8>),
}

/// The events up to the first error, and that error.
pub type Read = (Vec<Event>, Option<WireError>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader in front of a decoder.
    pub fn new(decoder: Box<dyn Decoder>) -> Self {
        Self { decoder, framing: Framing::Unknown(Vec::new()) }
    }

    /// Whether only token counts may follow: the answer is complete even if its stream does not
    /// end.
    pub fn is_ending(&self) -> bool {
        self.decoder.is_ending()
    }

    /// Decodes a chunk.
    pub fn push(&mut self, bytes: &[u8]) -> Read {
        let mut events = Vec::new();
        let error = self.read(bytes, &mut events).err();
        (events, error)
    }

    fn read(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), WireError> {
        let held;
        let mut bytes = bytes;
        if let Framing::Unknown(blank) = &mut self.framing {
            blank.extend_from_slice(bytes);
            let Some(first) = blank.iter().find(|byte| !is_blank(**byte)) else {
                return if blank.len() > MAX_TEXT_BYTES {
                    Err(too_large("no event"))
                } else {
                    Ok(())
                };
            };
            let framing = match first {
                b'{' | b'[' => Framing::Documents(Splitter::default()),
                b'<' => Framing::Markup(Vec::new()),
                _ => Framing::Events(sse::Parser::default()),
            };
            held = std::mem::take(blank);
            bytes = &held;
            self.framing = framing;
        }
        match &mut self.framing {
            Framing::Unknown(_) => {}
            Framing::Events(parser) => {
                for event in parser.push(bytes).map_err(too_large)? {
                    decode(&mut *self.decoder, &event, out)?;
                }
            }
            Framing::Documents(splitter) => {
                for document in splitter.push(bytes).map_err(too_large)? {
                    out.extend(self.decoder.event(DOCUMENT, &document)?);
                }
            }
            Framing::Markup(page) => {
                let room = MAX_TEXT_BYTES.saturating_sub(page.len());
                page.extend(bytes.iter().take(room));
            }
        }
        Ok(())
    }

    /// Decodes the end of the body, or of the connection.
    pub fn end(&mut self) -> Read {
        let mut events = Vec::new();
        let error = self.finish(&mut events).err();
        (events, error)
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), WireError> {
        match &mut self.framing {
            Framing::Unknown(_) => out.extend(self.decoder.end()?),
            Framing::Events(parser) => {
                for event in parser.end() {
                    decode(&mut *self.decoder, &event, out)?;
                }
                let ended = self.decoder.end();
                out.extend(ended.map_err(|error| with_stray(error, parser.stray()))?);
            }
            // A document that is cut says nothing about its end.
            Framing::Documents(splitter) if splitter.is_amid() => out.extend(self.decoder.end()?),
            Framing::Documents(_) => out.extend(self.decoder.done()?),
            Framing::Markup(page) => {
                let words = failure::markup(&String::from_utf8_lossy(page));
                let message = format!(
                    "expected the events of an answer, got a page; check base_url: {words}"
                );
                return Err(WireError::new(Code::InvalidRequest, message));
            }
        }
        Ok(())
    }
}

/// Passes an event to the decoder. `[DONE]` is OpenAI's end of a stream, which servers of all APIs
/// send.
fn decode(
    decoder: &mut dyn Decoder,
    event: &sse::Event,
    out: &mut Vec<Event>,
) -> Result<(), WireError> {
    let events = match event.data.trim() {
        "[DONE]" => decoder.done(),
        _ => decoder.event(&event.name, &event.data),
    };
    out.extend(events?);
    Ok(())
}

/// The bytes before the first event or document: white space and a byte order mark.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf)
}

/// Adds the text beside the events, which is the reason for the missing end.
fn with_stray(mut error: WireError, stray: &str) -> WireError {
    if !stray.is_empty() {
        error.message = format!("{}: {}", error.message, excerpt(stray, EXCERPT_CHARS));
    }
    error
}

/// The same answer would be as large again.
fn too_large(error: impl std::fmt::Display) -> WireError {
    WireError { retryable: false, ..WireError::new(Code::InvalidStream, error.to_string()) }
}
