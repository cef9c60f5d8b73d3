//! The makers of items that only their maker can read.
//!
//! Reasoning items and compactions carry `encrypted_content`. Another provider rejects it, or takes
//! it for its own, so such items return to their maker only. While core's connection lives, the
//! bridge remembers the maker. After that, items of a translating wire still name their provider; all
//! others count as made by the conversation's own.

use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::MutexGuard;

use serde_json::Value;
use serde_json::json;
use wires::item::Item;
use wires::item::ItemKind;
use wires::item::Mark;

use super::api::Api;
use super::event::Event;
use super::event::Kind;
use crate::sync::Mutex;

/// Items remembered per connection. Further ones are treated as after a restart.
const MAX_ITEMS: usize = 16_384;

/// The makers by the identity of their items. Clones share the makers.
#[derive(Debug, Clone, Default)]
pub struct Provenance(Arc<Mutex<HashMap<u64, Arc<str>>>>);

/// The provider that receives an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipient<'a> {
    /// The id of the provider.
    pub(super) provider: &'a str,
    /// The API of the provider.
    pub(super) api: Api,
    /// The id of the conversation's own provider.
    pub(super) home: &'a str,
}

impl Provenance {
    fn makers(&self) -> MutexGuard<'_, HashMap<u64, Arc<str>>> {
        self.0.lock()
    }

    /// Records the maker of the item in an event, if only the maker can read it.
    pub(super) fn record(&self, event: &Event, provider: &Arc<str>) {
        let Kind::ItemDone(item) = event.kind() else { return };
        if item.kind() == ItemKind::Other {
            return;
        }
        let identity = identity(&item.to_value());
        let mut makers = self.makers();
        if makers.len() < MAX_ITEMS {
            makers.insert(identity, Arc::clone(provider));
        }
    }

    /// Removes the items that the recipient cannot read.
    pub(super) fn filter(&self, input: &mut Vec<Item>, recipient: Recipient<'_>) {
        let makers = self.makers();
        input.retain_mut(|item| {
            if item.kind() == ItemKind::Other {
                return true;
            }
            let is_reasoning = item.kind() == ItemKind::Reasoning;
            let value = item.to_value();
            let mark = mark(&value);
            let known = makers.get(&identity(&value)).map(|maker| &**maker);
            let maker = known.or_else(|| mark.as_ref()?.provider.as_deref());
            let fits = match (maker, &mark, recipient.api) {
                (_, Some(_), Api::Responses) => false,
                (Some(maker), ..) => maker == recipient.provider,
                // The wires read items with their own mark only.
                (None, _, Api::Chat | Api::Anthropic | Api::Gemini) => true,
                (None, None, Api::Responses) => recipient.provider == recipient.home,
            };
            if !fits && recipient.api == Api::Responses && !is_reasoning {
                // Without a note the conversation would begin in the middle.
                *item = note();
                return true;
            }
            fits || !is_reasoning
        });
    }
}

/// Identifies an item by the content that core leaves unchanged.
fn identity(item: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match item.get("encrypted_content").and_then(Value::as_str) {
        Some(content) => content.hash(&mut hasher),
        None => {
            for member in ["summary", "content"] {
                let parts = item.get(member).and_then(Value::as_array).into_iter().flatten();
                for text in parts.filter_map(|part| part.get("text")?.as_str()) {
                    text.hash(&mut hasher);
                }
            }
        }
    }
    hasher.finish()
}

/// The mark of a translating wire that made the item.
fn mark(item: &Value) -> Option<Mark> {
    wires::item::mark(item.get("encrypted_content")?.as_str()?)
}

fn note() -> Item {
    let note = json!({
        "type": "message",
        "role": "user",
        "content": [{
            "type": "input_text",
            "text": "(The conversation before this was compacted by another provider, in a form that \
                     only it can read.)",
        }],
    });
    Item::of(&note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasoning(content: Value, summary: &str) -> Value {
        json!({ "type": "reasoning", "encrypted_content": content,
                "summary": [{ "type": "summary_text", "text": summary }] })
    }

    fn done(item: &Value) -> Event {
        Event::item_done(0, item)
    }

    #[test]
    fn secrets_go_back_to_their_maker_only() {
        let wire = |wire: &str| json!(json!({ "wire": wire, "blocks": [] }).to_string());
        let by =
            |provider: &str| json!(json!({ "wire": "chat", "provider": provider }).to_string());
        let message = json!({ "type": "message", "role": "user", "content": [] });
        let items = [
            reasoning(json!("by a"), ""),
            reasoning(json!("by b"), ""),
            reasoning(wire("chat"), "by c"),
            reasoning(Value::Null, "by c, without a mark"),
            reasoning(wire("anthropic"), "unknown, marked"),
            reasoning(json!("unknown"), ""),
            message,
            reasoning(by("d"), "by d, before a restart"),
        ];
        let provenance = Provenance::default();
        for (item, maker) in items.iter().zip(["a", "b", "c", "c"]) {
            provenance.record(&done(item), &maker.into());
        }
        for (provider, api, kept) in [
            ("a", Api::Responses, &[0, 5, 6][..]),
            ("b", Api::Responses, &[1, 6]),
            ("c", Api::Chat, &[2, 3, 4, 5, 6]),
            ("d", Api::Chat, &[4, 5, 6, 7]),
            ("d", Api::Responses, &[6]),
        ] {
            let item = |item: &Value| Item::new(&item.to_string());
            let mut input: Vec<Item> = items.iter().map(item).collect();
            provenance.filter(&mut input, Recipient { provider, api, home: "a" });
            let expected: Vec<Item> = kept.iter().map(|at: &usize| item(&items[*at])).collect();
            assert_eq!(input, expected, "{provider}");
        }
    }

    #[test]
    fn foreign_compaction_leaves_a_note() {
        let compaction = json!({ "type": "compaction", "encrypted_content": "x" });
        let provenance = Provenance::default();
        provenance.record(&done(&compaction), &"a".into());
        for (provider, api, stays) in
            [("a", Api::Responses, true), ("b", Api::Responses, false), ("c", Api::Chat, true)]
        {
            let mut input = vec![Item::new(&compaction.to_string())];
            provenance.filter(&mut input, Recipient { provider, api, home: "a" });
            assert_eq!((input.len(), input[0].to_value() == compaction), (1, stays), "{provider}");
        }
    }
}
