//! The output of a command: decoded, kept up to a limit, sent to a sink as it is printed.

use codex_gateway_engine::process::Process;
use codex_gateway_engine::protocol::ExecOutputStream;

/// A piece of the output of a command.
#[derive(Debug)]
pub(crate) struct OutputChunk {
    /// Counts the chunks, from 1.
    pub(crate) seq: u64,
    pub(crate) stream: ExecOutputStream,
    pub(crate) text: String,
}

/// The reader of a command's output.
pub(crate) trait OutputSink: Send {
    /// Takes a chunk. The next is read once this returns. If the future is dropped, the chunk is
    /// written again.
    fn write(&mut self, chunk: &OutputChunk) -> impl Future<Output = ()> + Send;
}

/// The output so far.
pub(super) struct Output<S> {
    stdout: Decoder,
    stderr: Decoder,
    sink: Option<S>,
    /// The number of the last chunk.
    seq: u64,
    /// The chunk that is being written.
    pending: Option<OutputChunk>,
}

/// The kept text of one stream.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) truncated: bool,
}

impl<S: OutputSink> Output<S> {
    /// Keeps at most `limit` bytes of each stream.
    pub(super) fn new(limit: usize, sink: Option<S>) -> Self {
        let decoder = || Decoder { limit, ..Decoder::default() };
        Self { stdout: decoder(), stderr: decoder(), sink, seq: 0, pending: None }
    }

    /// Reads until the command has ended. Cancel safe: a later call goes on.
    pub(super) async fn collect(&mut self, process: &mut Process) {
        self.write_pending().await;
        while let Some((stream, piece)) = process.next().await {
            let text = self.decoder(&stream).push(&piece);
            self.write(stream, text).await;
        }
        for stream in [ExecOutputStream::Stdout, ExecOutputStream::Stderr] {
            let text = self.decoder(&stream).finish();
            self.write(stream, text).await;
        }
    }

    pub(super) fn into_texts(mut self) -> (Text, Text) {
        self.stdout.finish();
        self.stderr.finish();
        (self.stdout.text, self.stderr.text)
    }

    fn decoder(&mut self, stream: &ExecOutputStream) -> &mut Decoder {
        match stream {
            ExecOutputStream::Stdout => &mut self.stdout,
            ExecOutputStream::Stderr => &mut self.stderr,
        }
    }

    async fn write(&mut self, stream: ExecOutputStream, text: String) {
        if text.is_empty() || self.sink.is_none() {
            return;
        }
        self.seq += 1;
        self.pending = Some(OutputChunk { seq: self.seq, stream, text });
        self.write_pending().await;
    }

    async fn write_pending(&mut self) {
        if let (Some(chunk), Some(sink)) = (&self.pending, &mut self.sink) {
            sink.write(chunk).await;
            self.pending = None;
        }
    }
}

/// Decodes UTF-8 in pieces: characters may be split between them, invalid bytes become U+FFFD.
#[derive(Debug, Default)]
struct Decoder {
    /// The beginning of a character.
    begun: Vec<u8>,
    text: Text,
    /// The bytes that are kept.
    limit: usize,
}

impl Decoder {
    /// Decodes a piece. Returns its text.
    fn push(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(piece);
        let mut decoded = String::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Err(error) = std::str::from_utf8(rest) {
            let (valid, after) = rest.split_at(error.valid_up_to());
            decoded.push_str(&String::from_utf8_lossy(valid));
            match error.error_len() {
                Some(length) => {
                    decoded.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(length..).unwrap_or_default();
                }
                None => {
                    self.begun = after.to_vec();
                    rest = &[];
                }
            }
        }
        decoded.push_str(&String::from_utf8_lossy(rest));
        self.keep(&decoded);
        decoded
    }

    /// Ends the text. Returns the replacement of a character that was not completed.
    fn finish(&mut self) -> String {
        if self.begun.is_empty() {
            return String::new();
        }
        self.begun.clear();
        let decoded = char::REPLACEMENT_CHARACTER.to_string();
        self.keep(&decoded);
        decoded
    }

    fn keep(&mut self, decoded: &str) {
        if self.text.truncated {
            return;
        }
        let room = self.limit.saturating_sub(self.text.text.len());
        let cut = decoded.floor_char_boundary(room);
        self.text.truncated = cut < decoded.len();
        self.text.text.push_str(decoded.get(..cut).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_does_not_depend_on_the_pieces() {
        let bytes = b"a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xff\xe2\x82z\xf0\x9f";
        let expected = String::from_utf8_lossy(bytes).into_owned();
        for size in 1..=bytes.len() {
            let mut decoder = Decoder { limit: 1000, ..Decoder::default() };
            let mut decoded: String = bytes.chunks(size).map(|piece| decoder.push(piece)).collect();
            decoded.push_str(&decoder.finish());
            assert_eq!((&decoded, &decoder.text.text), (&expected, &expected), "pieces of {size}");
            assert!(!decoder.text.truncated);
        }
    }

    #[test]
    fn kept_text_ends_with_a_whole_character() {
        let mut decoder = Decoder { limit: 4, ..Decoder::default() };
        for piece in ["ab", "€", "c"] {
            assert_eq!(decoder.push(piece.as_bytes()), piece, "all of it is sent");
        }
        assert_eq!((decoder.text.text.as_str(), decoder.text.truncated), ("ab", true));
        let mut exact = Decoder { limit: 2, ..Decoder::default() };
        exact.push(b"ab");
        assert!(!exact.text.truncated);
    }
}
