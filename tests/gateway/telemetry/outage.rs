//! A collector that is not there, refuses, or hangs: turns go on, one warning is given, and it is missed no longer
//! than it is away.

use std::time::Duration;
use std::time::Instant;

use super::ask;
use super::complaints;
use super::ended;
use crate::support::Gateway;
use crate::support::collector::Collector;
use crate::support::collector::Mood;
use crate::support::eventually;
use crate::support::gateway::Setup;
use crate::support::scrape::Scrape;

/// Waits until exports have failed so many times more.
async fn failures(gateway: &Gateway, more: f64) {
    let failed = || async {
        let text = gateway.get("/metrics").await.text();
        Scrape::read(text).total("codex_gateway_telemetry_export_failures_total", &[])
    };
    let before = failed().await;
    eventually("exports fail", || async { failed().await >= before + more }).await;
}

async fn a_turn(gateway: &Gateway, session: &str) {
    let answer = ask(gateway, session, "say: x").await;
    assert_eq!(answer["status"], "completed", "{answer}");
}

/// Exports fail soon, and what is logged is what is logged by default.
fn impatient(collector: &Collector) -> Setup {
    let setup = collector.observes(Setup::default()).env("OTEL_EXPORTER_OTLP_TIMEOUT", "300");
    setup.env("RUST_LOG", "warn,codex_gateway=info,opentelemetry=off")
}

#[tokio::test]
async fn outage_and_recovery_are_logged_once() {
    for protocol in ["http/protobuf", "grpc"] {
        let mut collector = Collector::start().await;
        collector.stop().await;
        // One that is there may take its time; that it is not there is known at once.
        let setup = impatient(&collector).env("OTEL_EXPORTER_OTLP_TIMEOUT", "5000");
        let setup = setup.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let gateway = setup.start();
        for round in 0..2 {
            a_turn(&gateway, &format!("{round}-down")).await;
            failures(&gateway, 3.0).await;
            a_turn(&gateway, &format!("{round}-still-down")).await;
            assert_eq!(
                complaints(&gateway).len(),
                1 + round,
                "{protocol}: {:#?}",
                complaints(&gateway)
            );
            let said = gateway.stdout.lock().unwrap().len();

            collector.come_back().await;
            let session = format!("{round}-up");
            a_turn(&gateway, &session).await;
            let before = collector.kept().named("invoke_agent codex").len();
            eventually("spans are there again", || async {
                a_turn(&gateway, &session).await;
                collector.kept().named("invoke_agent codex").len() > before
            })
            .await;
            eventually("it is said", || async {
                let said = gateway.stdout.lock().unwrap()[said..].to_owned();
                said.lines()
                    .any(|line| line.contains("\"severity\":\"INFO\"") && line.contains("again"))
            })
            .await;
            collector.stop().await;
        }
    }
}

#[tokio::test]
async fn failing_collector_never_delays_turns() {
    for mood in [Mood::Refuses, Mood::Hangs] {
        for protocol in ["http/protobuf", "grpc"] {
            let collector = Collector::start().await;
            collector.mood(mood);
            let setup = impatient(&collector).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
            let gateway = setup.start();
            a_turn(&gateway, "before").await;
            failures(&gateway, 3.0).await;
            a_turn(&gateway, "s").await;
            let complaints = complaints(&gateway);
            assert_eq!(complaints.len(), 1, "{mood:?} {protocol}: {complaints:#?}");
            collector.mood(Mood::Takes);
            a_turn(&gateway, "after").await;
            collector.span("invoke_agent codex").await;
        }
    }
}

#[tokio::test]
async fn full_queue_drops_spans_without_failing_turns() {
    let collector = Collector::start().await;
    collector.mood(Mood::Hangs);
    let setup = collector
        .observes(Setup::default())
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        .env("OTEL_BLRP_MAX_QUEUE_SIZE", "8")
        .env("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "4");
    let gateway = setup.start();
    let begun = Instant::now();
    for turn in 0..20 {
        a_turn(&gateway, &format!("s{turn}")).await;
    }
    // An export may take ten seconds; no turn waits for one.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let complaints = complaints(&gateway);
    assert!(complaints.len() <= 2, "{complaints:#?}");
}

#[tokio::test]
async fn outage_never_delays_shutdown() {
    let mut collector = Collector::start().await;
    let mut gateway = impatient(&collector).start();
    a_turn(&gateway, "s").await;
    collector.stop().await;
    gateway.terminate();
    ended(&mut gateway).await;
}
