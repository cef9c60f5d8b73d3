//! What the answers of a provider have taught: its quirks, by model, and where its API is. Kept for
//! the life of the process, and used once the request that was changed has been answered.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use wires::Quirks;

use crate::bridge::provider::Provider;
use crate::sync::Mutex;

/// The most models that are remembered; the names come from clients.
const MAX_MODELS: usize = 256;

/// The refusals that were learned of one provider.
#[derive(Debug, Default)]
pub(super) struct Learned {
    quirks: Mutex<HashMap<String, Quirks>>,
    /// Whether the API is at [`Api::other_path`](crate::bridge::api::Api::other_path).
    other_path: AtomicBool,
}

impl Learned {
    /// The quirks of a model: known ones, those that the operator set, and learned ones.
    pub(super) fn quirks(&self, provider: &Provider, model: &str) -> Quirks {
        let known = Quirks::known(provider.host(), model).with(&provider.quirks);
        match self.quirks.lock().get(model) {
            Some(learned) => known.with(learned),
            None => known,
        }
    }

    /// Remembers the quirks with which a request was answered.
    pub(super) fn remember(&self, provider: &Provider, model: &str, quirks: &Quirks) {
        let mut known = self.quirks.lock();
        if known.len() < MAX_MODELS || known.contains_key(model) {
            known.insert(model.to_owned(), quirks.clone());
            let learned = serde_json::to_string(quirks).unwrap_or_default();
            tracing::warn!(
                provider = provider.id,
                model,
                learned,
                "the provider refused a part of a request, which is changed from now on; see \
                 [gateway.providers.ID.quirks]"
            );
        }
    }

    pub(super) fn is_at_other_path(&self) -> bool {
        self.other_path.load(Ordering::Relaxed)
    }

    pub(super) fn found_at_other_path(&self) {
        self.other_path.store(true, Ordering::Relaxed);
    }
}
