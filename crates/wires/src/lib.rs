//! Translation between the Responses API, which core speaks, and the APIs of model providers. Pure:
//! no I/O, no runtime, nothing of core.
//!
//! A [`Wire`] encodes a Responses request for its provider, and a [`Decoder`] turns the provider's
//! stream into Responses events as it arrives.
//!
//! - [`chat`], [`anthropic`], [`gemini`]: one folder per wire, each with `history` (input items),
//!   `tools` (names and schemas), `decoder` (the answer) and `error` (the provider's errors);
//! - [`responses`]: the API itself, whose events pass through;
//! - [`event`]: events of a Responses stream; [`item`]: their items; [`usage`]: their token counts;
//! - [`reader`]: the body of an answer, as server-sent events ([`sse`]) or as JSON;
//! - [`error`]: failures and their codes; [`failure`]: the errors of providers in every dress;
//! - [`quirks`]: what a server refuses, and how it is learned from a refusal.

pub mod anthropic;
mod arguments;
pub mod chat;
mod documents;
pub mod error;
pub mod event;
pub mod failure;
pub mod gemini;
pub mod item;
mod json;
mod names;
pub mod quirks;
pub mod reader;
pub mod responses;
mod size;
pub mod sse;
#[cfg(test)]
mod tests;
pub mod usage;

use serde_json::Value;

pub use self::error::Code;
pub use self::error::WireError;
pub use self::event::Event;
pub use self::quirks::Quirks;
pub use self::reader::Reader;

/// A request to a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Appended to the provider's base URL; begins with `/`.
    pub path: String,
    /// Headers of the API itself, such as its version. The caller adds authentication.
    pub headers: Vec<(&'static str, String)>,
    /// The JSON body.
    pub body: Value,
}

/// One provider API.
pub trait Wire: Send + Sync {
    /// Translates a Responses request. The request must be complete, not incremental.
    ///
    /// # Errors
    /// `InvalidRequest` if the API cannot express the request.
    fn encode(&self, request: &Value) -> Result<Outgoing, WireError>;

    /// Returns the decoder of the answer of `provider` to `request`.
    fn decoder(&self, request: &Value, provider: &str) -> Box<dyn Decoder>;

    /// Reads the body of an answer with an error status.
    fn error(&self, status: u16, body: &[u8]) -> WireError;
}

/// Decodes one answer.
pub trait Decoder: Send {
    /// Takes one event. `name` is `message` for a server-sent event without a name, and `document`
    /// for a JSON document.
    ///
    /// # Errors
    /// The provider reports a failure, or its stream violates the API.
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Event>, WireError>;

    /// Ends the answer where the provider says that it is whole: at `[DONE]`, or at the end of a
    /// JSON document.
    ///
    /// # Errors
    /// `Truncated` if the answer is incomplete, or the error that ended it earlier.
    fn done(&mut self) -> Result<Vec<Event>, WireError>;

    /// Whether the provider has said why the answer ends. Only token counts may follow.
    fn is_ending(&self) -> bool;

    /// Ends the answer at the end of the stream.
    ///
    /// # Errors
    /// `Truncated` if the answer is incomplete, or the error that ended it earlier.
    fn end(&mut self) -> Result<Vec<Event>, WireError>;
}
