//! The cost of a request before its body is read: route and key.
//!
//! `cargo bench --locked --bench admit`

use std::hint::black_box;

use codex_gateway::access;
use codex_gateway::access::Access;
use codex_gateway::access::Keys;
use codex_gateway::gateway::route::Route;
use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use http::Method;
use http::Request;

fn admit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    let path = "/api/v1/conversations/01a1fc12-401b-725d-8040-2fd6b782cca6/events";
    group.bench_function("route", |bencher| {
        bencher.iter(|| Route::parse(black_box(&Method::GET), black_box(path)));
    });
    let request = Request::post("/exec").header("x-api-key", "key-7").body(()).expect("a request");
    for count in [1, 16] {
        let list: Vec<String> = (0..count).map(|n| format!("key-{}", 7 + n)).collect();
        let keys = Keys::parse(list.iter().map(String::as_str)).expect("keys");
        group.bench_function(format!("one key of {count}"), |bencher| {
            bencher.iter(|| access::admit(black_box(&keys), Access::Key, black_box(&request)));
        });
    }
}

criterion_group!(benches, admit);
criterion_main!(benches);
