//! The model calls under way, by conversation, and what they are traced below. Core leaves a call that it no longer wants open until
//! the model says something; a turn that is stopped takes its calls with it at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::MutexGuard;

use opentelemetry::Context;
use tokio_util::sync::CancellationToken;

use super::ask::Ask;
use crate::sync::Mutex;
use crate::telemetry::trace;

/// The calls under way.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    tokens: Arc<Mutex<HashMap<String, Arc<CancellationToken>>>>,
    /// What the calls of a conversation's running turn are traced below.
    traces: Arc<Mutex<HashMap<String, Context>>>,
}

/// A call under way: dropped when it has ended.
#[derive(Debug)]
pub(super) struct UnderWay {
    calls: Calls,
    conversation_id: String,
    /// Shared by the calls of the conversation.
    token: Arc<CancellationToken>,
}

impl Calls {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Arc<CancellationToken>>> {
        self.tokens.lock()
    }

    fn traces(&self) -> MutexGuard<'_, HashMap<String, Context>> {
        self.traces.lock()
    }

    /// A turn begins: its model calls are traced below `context`.
    pub fn trace(&self, conversation_id: &str, context: Context) {
        self.traces().insert(conversation_id.to_owned(), context);
    }

    /// The turn has ended.
    pub fn untrace(&self, conversation_id: &str) {
        self.traces().remove(conversation_id);
    }

    /// What a call is traced below: the turn of its conversation, or of the one that its conversation
    /// works for; else what core says.
    pub(super) fn context_of(&self, ask: &Ask) -> Context {
        let traces = self.traces();
        let ids = [&ask.conversation_id, &ask.parent_id, &ask.root_id];
        let known = ids.into_iter().flatten().find_map(|id| traces.get(id));
        let cores = || trace::of(ask.traceparent.as_deref()?, None);
        known.cloned().or_else(cores).unwrap_or_default()
    }

    /// A call begins.
    pub(super) fn begin(&self, conversation_id: &str) -> UnderWay {
        let token = Arc::clone(self.tokens().entry(conversation_id.to_owned()).or_default());
        UnderWay { calls: self.clone(), conversation_id: conversation_id.to_owned(), token }
    }

    /// Ends the calls of a conversation; those after them are not touched.
    pub fn stop(&self, conversation_id: &str) {
        let token = self.tokens().remove(conversation_id);
        if let Some(token) = token {
            token.cancel();
        }
    }
}

impl UnderWay {
    /// Cancelled when the call is to end.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut tokens = self.calls.tokens();
        // Tokens are shared under this lock only: two holders are the map and this call.
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
    fn a_conversation_is_known_as_long_as_a_call_of_it_is_under_way() {
        let calls = Calls::default();
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
