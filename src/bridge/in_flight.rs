//! Model calls under way, by conversation. Core leaves a call that it abandons open until the model
//! sends something; the bridge cancels the calls of an interrupted turn at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::MutexGuard;

use opentelemetry::Context;
use tokio_util::sync::CancellationToken;

use super::call::ModelCall;
use crate::sync::Mutex;
use crate::telemetry::trace;

/// The calls under way, and the traces of the turns that they belong to.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    /// By conversation; the calls of one share a token.
    tokens: Arc<Mutex<HashMap<String, Arc<CancellationToken>>>>,
    /// The parent of the spans of a conversation's calls, while a turn runs.
    traces: Arc<Mutex<HashMap<String, Context>>>,
}

/// A call under way. Dropped when the call ends.
#[derive(Debug)]
pub(super) struct CallGuard {
    in_flight: InFlight,
    conversation_id: String,
    token: Arc<CancellationToken>,
}

impl InFlight {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Arc<CancellationToken>>> {
        self.tokens.lock()
    }

    fn traces(&self) -> MutexGuard<'_, HashMap<String, Context>> {
        self.traces.lock()
    }

    /// Begins a turn, whose calls are traced below `context`.
    pub fn trace(&self, conversation_id: &str, context: Context) {
        self.traces().insert(conversation_id.to_owned(), context);
    }

    /// Ends the turn of a conversation.
    pub fn untrace(&self, conversation_id: &str) {
        self.traces().remove(conversation_id);
    }

    /// Returns the parent of a call's span: the turn of its conversation or of one above it, or
    /// else core's own trace context.
    pub(super) fn trace_of(&self, call: &ModelCall) -> Context {
        let traces = self.traces();
        let turn = call.conversation_ids().find_map(|id| traces.get(id));
        let core = || trace::of(call.traceparent.as_deref()?, None);
        turn.cloned().or_else(core).unwrap_or_default()
    }

    /// Begins a call.
    pub(super) fn begin(&self, conversation_id: &str) -> CallGuard {
        let token = Arc::clone(self.tokens().entry(conversation_id.to_owned()).or_default());
        CallGuard { in_flight: self.clone(), conversation_id: conversation_id.to_owned(), token }
    }

    /// Cancels the calls of a conversation. Later calls are not affected.
    pub fn stop(&self, conversation_id: &str) {
        let token = self.tokens().remove(conversation_id);
        if let Some(token) = token {
            token.cancel();
        }
    }
}

impl CallGuard {
    /// The token that cancels the call.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut tokens = self.in_flight.tokens();
        // Tokens are shared under this lock only, so two holders are the map and this call.
        let last = tokens
            .get(&self.conversation_id)
            .is_some_and(|token| Arc::ptr_eq(token, &self.token) && Arc::strong_count(token) == 2);
        if last {
            tokens.remove(&self.conversation_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversation_is_tracked_while_a_call_runs() {
        let calls = InFlight::default();
        let (first, second) = (calls.begin("c"), calls.begin("c"));
        drop(first);
        assert_eq!(calls.tokens().len(), 1);
        calls.stop("c");
        assert!(second.token().is_cancelled() && calls.tokens().is_empty());
        let third = calls.begin("c");
        drop(second);
        assert!(!third.token().is_cancelled());
        assert_eq!(calls.tokens().len(), 1);
        drop(third);
        assert!(calls.tokens().is_empty());
    }
}
