//! One model call as core asked for it.

use opentelemetry::Context;
use serde::Deserialize;

use super::origin::Origins;
use super::request::ModelRequest;

/// A whole Responses request, with what core says about it beside it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The request.
    pub request: ModelRequest,
    /// The conversation (codex's thread id), where core says.
    pub conversation_id: Option<String>,
    /// The conversation that this one works for, where it is a sub-agent's.
    pub parent_id: Option<String>,
    /// The conversation at the root of its agents: itself, where it is no sub-agent's.
    pub root_id: Option<String>,
    /// The turn, where core says.
    pub turn_id: Option<String>,
    /// Where core says that it asks, as W3C Trace Context.
    pub traceparent: Option<String>,
    /// What the call is traced below.
    pub trace: Context,
    /// Who made what in it.
    pub origins: Origins,
}

/// What core says about a request, inside it.
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

impl Ask {
    /// Takes what belongs to the bridge out of a request.
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
            origins: Origins::default(),
            request,
        }
    }

    /// The model.
    pub fn model(&self) -> &str {
        self.request.model()
    }
}
