//! One model call as core asked for it.

use opentelemetry::Context;
use serde_json::Value;

use super::origin::Origins;

/// A whole Responses request, with what core says about it beside it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The request: model, instructions, input, tools, …
    pub body: Value,
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

impl Ask {
    /// Takes what belongs to the bridge out of a request.
    pub fn new(mut body: Value) -> Self {
        let metadata = body.as_object_mut().and_then(|body| body.remove("client_metadata"));
        let of = |key: &str| {
            metadata.as_ref().and_then(|metadata| metadata.get(key)?.as_str().map(str::to_owned))
        };
        Self {
            conversation_id: of("thread_id"),
            parent_id: of("x-codex-parent-thread-id"),
            root_id: of("session_id"),
            turn_id: of("turn_id"),
            traceparent: of("ws_request_header_traceparent"),
            trace: Context::default(),
            origins: Origins::default(),
            body,
        }
    }

    /// The model.
    pub fn model(&self) -> &str {
        self.body.get("model").and_then(Value::as_str).unwrap_or_default()
    }

    /// The same for another model.
    #[must_use]
    pub fn with_model(mut self, model: &str) -> Self {
        if let Some(body) = self.body.as_object_mut() {
            body.insert("model".to_owned(), model.into());
        }
        self
    }

    /// What the model is shown.
    pub fn input(&self) -> &[Value] {
        self.body.get("input").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The same, to be changed.
    pub fn input_mut(&mut self) -> Option<&mut Vec<Value>> {
        self.body.get_mut("input")?.as_array_mut()
    }
}
