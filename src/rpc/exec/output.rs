//! What a command prints: decoded, kept up to a bound, sent on as it comes.

use codex_gateway_engine::process::Process;
use codex_gateway_engine::protocol::ExecOutputStream;
use serde_json::Value;
use serde_json::json;

use super::super::call_context::CallContext;

/// What has been printed so far.
pub(super) struct Output<'a> {
    stdout: Decoder,
    stderr: Decoder,
    call: &'a CallContext,
    /// Numbers the notifications.
    sent: u64,
    /// A notification that has not been sent yet.
    unsent: Option<Value>,
}

/// What is kept of one stream.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) truncated: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(kept: usize, call: &'a CallContext) -> Self {
        let decoder = || Decoder { kept, ..Decoder::default() };
        Self { stdout: decoder(), stderr: decoder(), call, sent: 0, unsent: None }
    }

    /// Reads until the command has ended. May be dropped and begun again.
    pub(super) async fn collect(&mut self, process: &mut Process) {
        self.send().await;
        while let Some((stream, piece)) = process.next().await {
            let chunk = self.decoder(&stream).push(&piece);
            self.say(&stream, chunk).await;
        }
        for stream in [ExecOutputStream::Stdout, ExecOutputStream::Stderr] {
            let chunk = self.decoder(&stream).finish();
            self.say(&stream, chunk).await;
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

    async fn say(&mut self, stream: &ExecOutputStream, chunk: String) {
        if chunk.is_empty() || self.call.socket().is_none() {
            return;
        }
        self.sent += 1;
        self.unsent = Some(json!({
            "id": self.call.id(), "seq": self.sent, "stream": stream, "chunk": chunk,
        }));
        self.send().await;
    }

    async fn send(&mut self) {
        if let (Some(unsent), Some(socket)) = (&self.unsent, self.call.socket()) {
            // A socket that is gone takes the call with it.
            let _ = socket.notify("exec.output", unsent).await;
            self.unsent = None;
        }
    }
}

/// Bytes into text: what is not UTF-8 is replaced, a character that comes in two pieces is whole.
#[derive(Debug, Default)]
struct Decoder {
    /// The beginning of a character.
    begun: Vec<u8>,
    text: Text,
    kept: usize,
}

impl Decoder {
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

    /// What was begun will not be completed.
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
        let room = self.kept.saturating_sub(self.text.text.len());
        let cut = decoded.floor_char_boundary(room);
        self.text.truncated = cut < decoded.len();
        self.text.text.push_str(decoded.get(..cut).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_wherever_the_bytes_are_cut() {
        let bytes = b"a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xff\xe2\x82z\xf0\x9f";
        let expected = String::from_utf8_lossy(bytes).into_owned();
        for size in 1..=bytes.len() {
            let mut decoder = Decoder { kept: 1000, ..Decoder::default() };
            let mut said: String = bytes.chunks(size).map(|piece| decoder.push(piece)).collect();
            said.push_str(&decoder.finish());
            assert_eq!((&said, &decoder.text.text), (&expected, &expected), "pieces of {size}");
            assert!(!decoder.text.truncated);
        }
    }

    #[test]
    fn what_is_kept_ends_with_a_whole_character_and_has_no_gap() {
        let mut decoder = Decoder { kept: 4, ..Decoder::default() };
        for piece in ["ab", "€", "c"] {
            assert_eq!(decoder.push(piece.as_bytes()), piece, "all of it is said");
        }
        assert_eq!((decoder.text.text.as_str(), decoder.text.truncated), ("ab", true));
        let mut exact = Decoder { kept: 2, ..Decoder::default() };
        exact.push(b"ab");
        assert!(!exact.text.truncated);
    }
}
