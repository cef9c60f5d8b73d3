//! Which provider made which part of a conversation that only its maker can read.
//!
//! Reasoning items, and what a provider compacted, carry `encrypted_content`. Another provider refuses
//! it, or would take it for its own: such items go back to their maker only. While core's connection
//! lives, the bridge remembers the maker. After that, what our wires made still bears their mark; the
//! rest is taken for the work of the conversation's own provider.

use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::MutexGuard;

use serde_json::Value;
use serde_json::json;

use super::backend::Event;
use super::provider::Api;
use super::request::Item;
use super::request::Kind;
use crate::sync::Mutex;

/// So many items are remembered; those of a longer conversation are as if after a restart.
const REMEMBERED: usize = 16_384;

/// The makers, by what they made.
#[derive(Debug, Clone, Default)]
pub struct Origins(Arc<Mutex<HashMap<u64, Arc<str>>>>);

/// Who is asked, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Audience<'a> {
    /// The id of the provider.
    pub(super) provider: &'a str,
    /// How it is spoken to.
    pub(super) api: Api,
    /// The conversation's own provider.
    pub(super) home: &'a str,
}

impl Origins {
    fn makers(&self) -> MutexGuard<'_, HashMap<u64, Arc<str>>> {
        self.0.lock()
    }

    /// Remembers who made what an event holds.
    pub(super) fn learn(&self, event: &Event, provider: &Arc<str>) {
        let may_be_secret = event.kind == "response.output_item.done"
            && (event.json.contains("\"reasoning\"") || event.json.contains("compaction"));
        if !may_be_secret {
            return;
        }
        let Some(item) = Item::done(&event.json).filter(|item| item.kind() != Kind::Other) else {
            return;
        };
        let mut makers = self.makers();
        if makers.len() < REMEMBERED {
            makers.insert(identity(&item.to_value()), Arc::clone(provider));
        }
    }

    /// Takes out of an input what the audience is not the maker of.
    pub(super) fn filter(&self, input: &mut Vec<Item>, audience: Audience<'_>) {
        let makers = self.makers();
        input.retain_mut(|item| {
            if item.kind() == Kind::Other {
                return true;
            }
            let is_reasoning = item.kind() == Kind::Reasoning;
            let value = item.to_value();
            let fits = match (makers.get(&identity(&value)), marked(&value), audience.api) {
                (Some(maker), ..) => **maker == *audience.provider,
                // The wires look at their marks, and at nothing else.
                (None, _, Api::Chat | Api::Anthropic | Api::Gemini) => true,
                (None, true, Api::Responses) => false,
                (None, false, Api::Responses) => audience.provider == audience.home,
            };
            if !fits && audience.api == Api::Responses && !is_reasoning {
                // Without it the conversation would begin in the middle.
                *item = note();
                return true;
            }
            fits || !is_reasoning
        });
    }
}

/// What an item is known by, whatever core does to the rest of it.
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

/// Whether one of our wires made it.
fn marked(item: &Value) -> bool {
    let content = item.get("encrypted_content").and_then(Value::as_str);
    content
        .filter(|content| content.starts_with('{'))
        .and_then(|content| serde_json::from_str::<Value>(content).ok())
        .is_some_and(|content| content.get("wire").is_some_and(Value::is_string))
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
    Item::new(&note.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasoning(content: Value, summary: &str) -> Value {
        json!({ "type": "reasoning", "encrypted_content": content,
                "summary": [{ "type": "summary_text", "text": summary }] })
    }

    fn done(item: &Value) -> Event {
        Event::of(&json!({ "type": "response.output_item.done", "item": item }))
    }

    #[test]
    fn secrets_go_back_to_their_maker_only() {
        let wire = |wire: &str| json!(json!({ "wire": wire, "blocks": [] }).to_string());
        let message = json!({ "type": "message", "role": "user", "content": [] });
        let items = [
            reasoning(json!("by a"), ""),
            reasoning(json!("by b"), ""),
            reasoning(wire("chat"), "by c"),
            reasoning(Value::Null, "by c, without a mark"),
            reasoning(wire("anthropic"), "unknown, marked"),
            reasoning(json!("unknown"), ""),
            message,
        ];
        let origins = Origins::default();
        for (item, maker) in items.iter().zip(["a", "b", "c", "c"]) {
            origins.learn(&done(item), &maker.into());
        }
        for (provider, api, kept) in [
            ("a", Api::Responses, &[0, 5, 6][..]),
            ("b", Api::Responses, &[1, 6]),
            ("c", Api::Chat, &[2, 3, 4, 5, 6]),
            ("d", Api::Chat, &[4, 5, 6]),
        ] {
            let item = |item: &Value| Item::new(&item.to_string());
            let mut input: Vec<Item> = items.iter().map(item).collect();
            origins.filter(&mut input, Audience { provider, api, home: "a" });
            let expected: Vec<Item> = kept.iter().map(|at: &usize| item(&items[*at])).collect();
            assert_eq!(input, expected, "{provider}");
        }
    }

    #[test]
    fn what_another_provider_compacted_leaves_a_note() {
        let compaction = json!({ "type": "compaction", "encrypted_content": "x" });
        let origins = Origins::default();
        origins.learn(&done(&compaction), &"a".into());
        for (provider, api, stays) in
            [("a", Api::Responses, true), ("b", Api::Responses, false), ("c", Api::Chat, true)]
        {
            let mut input = vec![Item::new(&compaction.to_string())];
            origins.filter(&mut input, Audience { provider, api, home: "a" });
            assert_eq!((input.len(), input[0].to_value() == compaction), (1, stays), "{provider}");
        }
    }
}
