//! Collectors that are down, refuse or hang: turns continue, and the start and the end of an outage
//! are logged once.

use std::time::Duration;
use std::time::Instant;

use super::wait_for_exit;
use super::warnings;
use crate::support::Gateway;
use crate::support::collector::Collector;
use crate::support::collector::Mode;
use crate::support::eventually;
use crate::support::gateway::Setup;
use crate::support::scrape::Scrape;

/// Waits until this many more exports have failed.
async fn wait_for_failures(gateway: &Gateway, more: f64) {
    let failed = || async {
        let text = gateway.get("/metrics").await.text();
        Scrape::read(text).total("codex_gateway_telemetry_export_failures_total", &[])
    };
    let before = failed().await;
    eventually("exports fail", || async { failed().await >= before + more }).await;
}

async fn run_turn(gateway: &Gateway, session: &str) {
    let answer = gateway.ask(session, "say: x").await;
    assert_eq!(answer["status"], "completed", "{answer}");
}

/// Returns a set-up whose exports fail soon, with the default log level.
fn with_short_timeout(collector: &Collector) -> Setup {
    let setup = collector.exporting(Setup::default()).env("OTEL_EXPORTER_OTLP_TIMEOUT", "300");
    setup.env("RUST_LOG", "warn,codex_gateway=info,opentelemetry=off")
}

#[tokio::test]
async fn outage_and_recovery_are_logged_once() {
    for protocol in ["http/protobuf", "grpc"] {
        let mut collector = Collector::start().await;
        collector.stop().await;
        // A running collector may be slow; a refused connection fails at once.
        let setup = with_short_timeout(&collector).env("OTEL_EXPORTER_OTLP_TIMEOUT", "5000");
        let setup = setup.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let gateway = setup.start();
        for round in 0..2 {
            run_turn(&gateway, &format!("{round}-down")).await;
            wait_for_failures(&gateway, 3.0).await;
            run_turn(&gateway, &format!("{round}-still-down")).await;
            assert_eq!(
                warnings(&gateway).len(),
                1 + round,
                "{protocol}: {:#?}",
                warnings(&gateway)
            );
            let said = gateway.stdout.lock().unwrap().len();

            collector.restart().await;
            let session = format!("{round}-up");
            run_turn(&gateway, &session).await;
            let before = collector.received().named("invoke_agent codex").len();
            eventually("spans are exported again", || async {
                run_turn(&gateway, &session).await;
                collector.received().named("invoke_agent codex").len() > before
            })
            .await;
            eventually("the recovery is logged", || async {
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
    for mode in [Mode::Refuses, Mode::Hangs] {
        for protocol in ["http/protobuf", "grpc"] {
            let collector = Collector::start().await;
            collector.set_mode(mode);
            let setup = with_short_timeout(&collector).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
            let gateway = setup.start();
            run_turn(&gateway, "before").await;
            wait_for_failures(&gateway, 3.0).await;
            run_turn(&gateway, "s").await;
            let warnings = warnings(&gateway);
            assert_eq!(warnings.len(), 1, "{mode:?} {protocol}: {warnings:#?}");
            collector.set_mode(Mode::Accepts);
            run_turn(&gateway, "after").await;
            collector.span("invoke_agent codex").await;
        }
    }
}

#[tokio::test]
async fn full_queue_drops_spans_without_failing_turns() {
    let collector = Collector::start().await;
    collector.set_mode(Mode::Hangs);
    let setup = collector
        .exporting(Setup::default())
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        .env("OTEL_BLRP_MAX_QUEUE_SIZE", "8")
        .env("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "4");
    let gateway = setup.start();
    let begun = Instant::now();
    for turn in 0..20 {
        run_turn(&gateway, &format!("s{turn}")).await;
    }
    // An export may take ten seconds; turns never wait for it.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let warnings = warnings(&gateway);
    assert!(warnings.len() <= 2, "{warnings:#?}");
}

#[tokio::test]
async fn outage_never_delays_shutdown() {
    let mut collector = Collector::start().await;
    let mut gateway = with_short_timeout(&collector).start();
    run_turn(&gateway, "s").await;
    collector.stop().await;
    gateway.terminate();
    wait_for_exit(&mut gateway).await;
}
