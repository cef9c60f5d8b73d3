//! Counts how often core repeats a call whose stream broke. Core counts for its WebSocket and then
//! again for HTTP, so alone it would repeat a call twice as often as `stream_max_retries` says. The
//! bridge counts for both, and ends the turn with the failure that is one too many.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::ModelCall;
use super::upstream::CallError;
use crate::sync::Mutex;

/// The most conversations with a broken call under way. Beyond it counts begin anew.
const MAX_CONVERSATIONS: usize = 10_000;

/// The turn of a call. `None` for a call of no conversation.
#[derive(Debug)]
pub(super) struct TurnKey(Option<(String, Option<String>)>);

impl TurnKey {
    pub(super) fn of(call: &ModelCall) -> Self {
        Self(call.conversation_id.clone().map(|conversation| (conversation, call.turn_id.clone())))
    }
}

/// The failures since the last success, by conversation.
#[derive(Debug, Clone)]
pub(super) struct Repeats {
    limit: u64,
    failures: Arc<Mutex<HashMap<String, Failures>>>,
}

#[derive(Debug)]
struct Failures {
    turn: Option<String>,
    count: u64,
}

impl Repeats {
    /// Allows `limit` repetitions of a call.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, failures: Arc::default() }
    }

    /// Counts a failure. It ends the turn if the call has been repeated often enough.
    pub(super) fn judge(&self, turn: &TurnKey, error: CallError) -> CallError {
        if !error.is_repeated() {
            self.forget(turn);
            return error;
        }
        if self.count(turn) <= self.limit {
            return error;
        }
        self.forget(turn);
        error.ended()
    }

    fn count(&self, turn: &TurnKey) -> u64 {
        let Some((conversation, turn)) = &turn.0 else { return 0 };
        let mut failures = self.failures.lock();
        if failures.len() >= MAX_CONVERSATIONS && !failures.contains_key(conversation) {
            failures.clear();
        }
        let known = failures
            .entry(conversation.clone())
            .or_insert_with(|| Failures { turn: turn.clone(), count: 0 });
        if known.turn != *turn {
            *known = Failures { turn: turn.clone(), count: 0 };
        }
        known.count += 1;
        known.count
    }

    /// Ends the count of a conversation.
    pub(super) fn forget(&self, turn: &TurnKey) {
        if let Some((conversation, _)) = &turn.0 {
            self.failures.lock().remove(conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_until_success_or_another_turn() {
        let key = |conversation: &str, turn: &str| {
            TurnKey(Some((conversation.to_owned(), Some(turn.to_owned()))))
        };
        let repeats = Repeats::new(1);
        assert_eq!((repeats.count(&key("a", "1")), repeats.count(&key("a", "1"))), (1, 2));
        assert_eq!(repeats.count(&key("b", "1")), 1);
        assert_eq!(repeats.count(&key("a", "2")), 1);
        repeats.forget(&key("a", "2"));
        assert_eq!(repeats.count(&key("a", "2")), 1);
        for n in 0..2 * MAX_CONVERSATIONS {
            repeats.count(&key(&n.to_string(), "1"));
        }
        assert!(repeats.failures.lock().len() <= MAX_CONVERSATIONS);
        assert_eq!(repeats.count(&TurnKey(None)), 0);
    }
}
