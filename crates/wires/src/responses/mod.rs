//! The Responses API itself: requests and events pass through, but for what core cannot read.
//!
//! - [`decoder`]: the answer, also as one document;
//! - [`pass`]: one event; [`completed`]: `response.completed`, whose token counts core wants whole.

mod api;
mod completed;
mod decoder;
mod pass;
#[cfg(test)]
mod tests;

use self::api::API;
use self::decoder::ResponsesDecoder;
use crate::Decoder;
use crate::WireError;
use crate::failure;

/// Returns the decoder of an answer.
pub fn decoder() -> Box<dyn Decoder> {
    Box::new(ResponsesDecoder::default())
}

/// Reads the body of an answer with an error status.
pub fn error(status: u16, body: &[u8]) -> WireError {
    failure::of_body(API, status, body)
}
