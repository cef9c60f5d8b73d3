//! The events of the demo model's replies.

use std::time::Duration;

use futures::Stream;
use serde_json::Value;
use wires::item;
use wires::usage::Usage;

use super::script::Reply;
use crate::bridge::event::Event;
use crate::bridge::event::response_id;

/// Streams the events of one response. Input tokens are estimated from `request_bytes`.
pub(super) fn events(
    reply: Reply,
    request_bytes: usize,
) -> impl Stream<Item = Event> + Send + use<> {
    let response_id = response_id();
    let item_id = format!("item_{}", uuid::Uuid::now_v7().simple());
    async_stream::stream! {
        yield Event::created(&response_id);
        let mut output_tokens = 8;
        match reply {
            Reply::Call { name, arguments } => {
                yield call(&item_id, None, name, &arguments);
            }
            Reply::CallIn { namespace, name, arguments } => {
                yield call(&item_id, Some(&namespace), &name, &arguments);
            }
            Reply::Patch(input) => {
                let call_id = call_id();
                let call = item::Call {
                    id: &item_id,
                    call_id: &call_id,
                    namespace: None,
                    name: "apply_patch",
                };
                yield Event::item_done(0, &call.custom(&input));
            }
            Reply::Text(_) | Reply::Deltas(_) | Reply::Slow { .. } => {
                let (deltas, pause) = deltas(reply);
                yield Event::item_added(0, &item::empty_message(&item_id));
                let mut text = String::new();
                for delta in deltas {
                    if let Some(pause) = pause {
                        tokio::time::sleep(pause).await;
                    }
                    output_tokens += 1;
                    text.push_str(&delta);
                    yield Event::text_delta(&item_id, 0, &delta);
                }
                yield Event::item_done(0, &item::message(&item_id, &text));
            }
        }
        yield Event::completed(&response_id, Some(usage(request_bytes, output_tokens)));
    }
}

fn call(id: &str, namespace: Option<&str>, name: &str, arguments: &Value) -> Event {
    let call = item::Call { id, call_id: &call_id(), namespace, name };
    Event::item_done(0, &call.function(&arguments.to_string()))
}

fn call_id() -> String {
    format!("call_{}", uuid::Uuid::now_v7().simple())
}

fn usage(request_bytes: usize, output: i64) -> Usage {
    let input = i64::try_from(request_bytes / 4).unwrap_or(i64::MAX);
    Usage {
        input: Some(input),
        cached: Some(0),
        cache_written: None,
        output: Some(output),
        reasoning: Some(0),
        total: Some(input.saturating_add(output)),
    }
}

/// The longest script: a prompt must not be able to fill the memory.
const MAX_DELTAS: usize = 1_000_000;

/// Returns the pieces of a text, and the pause between them.
fn deltas(reply: Reply) -> (Box<dyn Iterator<Item = String> + Send>, Option<Duration>) {
    let numbered = |count: usize| Box::new((0..count.min(MAX_DELTAS)).map(|n| format!("{n} ")));
    match reply {
        Reply::Text(text) => {
            let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
            (Box::new(words.into_iter()), None)
        }
        Reply::Deltas(count) => (numbered(count), None),
        Reply::Slow { words, pause_ms } => (numbered(words), Some(Duration::from_millis(pause_ms))),
        Reply::Call { .. } | Reply::CallIn { .. } | Reply::Patch(_) => {
            (Box::new(std::iter::empty()), None)
        }
    }
}
