//! The model calls under way, by conversation. Core leaves a call that it no longer wants open until
//! the model says something; a turn that is stopped takes its calls with it at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio_util::sync::CancellationToken;

/// The calls under way.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<HashMap<String, CancellationToken>>>);

impl Calls {
    /// What ends the next calls of a conversation.
    pub(super) fn token(&self, conversation_id: &str) -> CancellationToken {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(conversation_id.to_owned()).or_default().clone()
    }

    /// Ends the calls of a conversation; those after them are not touched.
    pub fn stop(&self, conversation_id: &str) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = calls.remove(conversation_id) {
            token.cancel();
        }
    }
}
