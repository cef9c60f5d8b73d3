//! How providers are spoken to. Core speaks the Responses API; a wire translates a request of it into
//! a provider's, and the provider's stream back, event by event, as it comes.
//!
//! One file per wire: [`anthropic`], [`chat`], [`gemini`]. The Responses API itself needs none: its events
//! pass through [`responses`].

pub mod anthropic;
pub mod chat;
pub mod gemini;
pub mod responses;

use serde_json::Value;
use serde_json::json;

/// A request to a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Appended to the provider's base URL; begins with `/`.
    pub path: String,
    /// Headers of the wire itself (a version, say). Authentication is added elsewhere.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Value,
}

/// What a provider refused or broke. `code` is one that core knows in a `response.failed` event, or
/// one that it does not, and then it asks again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// `context_length_exceeded`, `insufficient_quota`, `invalid_prompt`, `rate_limit_exceeded`, …
    pub code: &'static str,
    /// What happened; it names the provider's API.
    pub message: String,
    /// The same request may succeed later.
    pub retryable: bool,
}

/// How one provider's API is spoken.
pub trait Wire: Send + Sync {
    /// Translates core's request: a whole one, never incremental.
    ///
    /// # Errors
    /// The request holds something that the API cannot express.
    fn encode(&self, ask: &Value) -> Result<Outgoing, Failure>;

    /// Reads the answer to `ask`.
    fn decoder(&self, ask: &Value) -> Box<dyn Decoder>;

    /// What an answer with an error status says.
    fn failure(&self, status: u16, body: &[u8]) -> Failure;
}

/// Reads one answer.
pub trait Decoder: Send {
    /// Takes one server-sent event: its name (`message` where it has none) and its data.
    ///
    /// # Errors
    /// The provider says that it failed, or what it says is not its API.
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Value>, Failure>;

    /// The stream has ended.
    ///
    /// # Errors
    /// It ended before its end.
    fn end(&mut self) -> Result<Vec<Value>, Failure>;
}

/// The type of an error that is an answer's end before it was whole.
pub(super) const INCOMPLETE: &str = "incomplete";

/// The last event of an answer that its provider ended before it was whole. Core takes
/// `response.incomplete` for a connection that broke: it asks five times more, is cut off five times more, and does
/// without its WebSocket from then on. So the turn ends, with the reason; what was said stays in the history.
fn unfinished(id: &str, who: &str, reason: &str) -> Value {
    let why = match reason {
        "max_output_tokens" => "it was cut off at the limit of output tokens (max_output_tokens)",
        "content_filter" => "the provider's content filter stopped it (content_filter)",
        other => other,
    };
    let message = format!("{who} did not finish its answer: {why}");
    let error = json!({ "code": "invalid_prompt", "type": INCOMPLETE, "message": message });
    json!({ "type": "response.failed", "response": { "id": id, "error": error } })
}
