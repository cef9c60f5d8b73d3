//! The cost of an event on its way out: encoded by core's serde, numbered and stored by the log,
//! framed.
//!
//! `cargo bench --locked --bench encode`

use std::hint::black_box;

use codex_gateway::conversation::event_budget::EventBudget;
use codex_gateway::conversation::id::ConversationId;
use codex_gateway::conversation::log::EventLog;
use codex_gateway::conversation::log::Read;
use codex_gateway::stream::Item;
use codex_gateway::stream::jsonl;
use codex_gateway::stream::sse;
use codex_gateway_engine::protocol::Event;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;

const DELTA: &str = r#"{"id":"01a1fc12-4028-7788-a6d6-4a7d2bd33cf0","msg":{"type":"agent_message_content_delta",
"thread_id":"01a1fc12-401b-725d-8040-2fd6b782cca6","turn_id":"01a1fc12-4028-7788-a6d6-4a7d2bd33cf0",
"item_id":"item_01a1fc124740767e8fcc8537668506d8","delta":"command "}}"#;

fn log() -> std::sync::Arc<EventLog> {
    EventLog::new(
        &ConversationId::new("01a1fc12-401b-725d-8040-2fd6b782cca6"),
        1 << 20,
        &EventBudget::new(1 << 24),
    )
}

fn encode(criterion: &mut Criterion) {
    let event: Event = serde_json::from_str(DELTA).expect("an event of core");
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let mut json = Vec::with_capacity(1024);
    group.bench_function("core event to JSON", |bencher| {
        bencher.iter(|| {
            json.clear();
            codex_gateway_engine::encode(black_box(&event), &mut json)
                .expect("core's types are JSON");
        });
    });
    let event_log = log();
    group.bench_function("number, store, wake", |bencher| {
        bencher.iter(|| event_log.append(black_box(&json), None));
    });
    let event_log = log();
    let mut cursor = event_log.cursor(0);
    group.bench_function("append, read, frame as JSON lines", |bencher| {
        bencher.iter(|| {
            event_log.append(&json, None);
            match cursor.read() {
                Read::Events(entries) => jsonl::frame(Item::Events(entries)),
                Read::Lagged { .. } | Read::Pending | Read::Ended => bytes::Bytes::new(),
            }
        });
    });
    let mut cursor = event_log.cursor(event_log.last_seq());
    group.bench_function("append, read, frame as SSE", |bencher| {
        bencher.iter(|| {
            event_log.append(&json, None);
            match cursor.read() {
                Read::Events(entries) => sse::frame(Item::Events(entries)),
                Read::Lagged { .. } | Read::Pending | Read::Ended => bytes::Bytes::new(),
            }
        });
    });
}

criterion_group!(benches, encode);
criterion_main!(benches);
