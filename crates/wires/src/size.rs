//! The bound on one answer.

use crate::error::WireError;

/// More than any model writes: 128,000 tokens, each an event of its own, are half of it. A provider
/// that sends more is broken or hostile, and must not fill the memory.
const ANSWER_BYTES: usize = 32 << 20;

/// Bytes of an answer so far.
#[derive(Debug, Default)]
pub(crate) struct AnswerSize(usize);

impl AnswerSize {
    /// Counts more bytes.
    ///
    /// # Errors
    /// `InvalidStream` if the answer of `api` is too large.
    pub(crate) fn add(&mut self, api: &str, bytes: usize) -> Result<(), WireError> {
        self.0 = self.0.saturating_add(bytes);
        if self.0 > ANSWER_BYTES {
            let defect = format!("sent an answer larger than {ANSWER_BYTES} bytes");
            return Err(WireError::invalid_stream(api, defect));
        }
        Ok(())
    }
}
