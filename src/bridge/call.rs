//! One model call of core's.

use opentelemetry::Context;
use serde::Deserialize;

use super::provenance::Provenance;
use super::request::ModelRequest;

/// A complete Responses request, with the metadata that core sends beside it.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// The request.
    pub request: ModelRequest,
    /// The conversation (codex's thread id), if core names it.
    pub conversation_id: Option<String>,
    /// The conversation that started this one as a sub-agent.
    pub parent_id: Option<String>,
    /// The conversation at the root of its agents; itself if it is no sub-agent.
    pub root_id: Option<String>,
    /// The turn, if core names it.
    pub turn_id: Option<String>,
    /// Core's W3C Trace Context.
    pub traceparent: Option<String>,
    /// The parent of the call's span.
    pub trace: Context,
    /// The makers of the items in the request.
    pub provenance: Provenance,
}

/// `client_metadata` of a request.
#[derive(Debug, Default, Deserialize)]
struct Metadata {
    thread_id: Option<String>,
    #[serde(rename = "x-codex-parent-thread-id")]
    parent_id: Option<String>,
    #[serde(rename = "session_id")]
    root_id: Option<String>,
    turn_id: Option<String>,
    #[serde(rename = "ws_request_header_traceparent")]
    traceparent: Option<String>,
}

impl ModelCall {
    /// Takes the bridge's own metadata out of a request.
    pub fn new(mut request: ModelRequest) -> Self {
        let Metadata { thread_id, parent_id, root_id, turn_id, traceparent } =
            request.take("client_metadata").unwrap_or_default();
        Self {
            conversation_id: thread_id,
            parent_id,
            root_id,
            turn_id,
            traceparent,
            trace: Context::default(),
            provenance: Provenance::default(),
            request,
        }
    }

    /// The model.
    pub fn model(&self) -> &str {
        self.request.model()
    }

    /// The ids of the conversation and of those above it, nearest first.
    pub(super) fn conversation_ids(&self) -> impl Iterator<Item = &String> {
        [&self.conversation_id, &self.parent_id, &self.root_id].into_iter().flatten()
    }
}
