//! Traces, metrics and logs at a scripted collector: spans, context propagation, redaction, the
//! environment, outages, shutdown, and the scrape endpoint.

mod context;
mod environment;
mod logs;
mod metrics;
mod outage;
mod redaction;
mod scrape;
mod shutdown;
mod spans;
mod tool_servers;

use serde_json::Value;

use crate::support::Gateway;
use crate::support::collector::Collector;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::soon;

/// The dialect of the scripted provider.
const DIALECT: &Dialect = &DIALECTS[0];

/// A caller's trace and span.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Starts a provider with these answers and a gateway that uses it and exports to the collector.
async fn observed(
    collector: &Collector,
    script: impl IntoIterator<Item = Answer>,
) -> (Provider, Gateway) {
    let provider = Provider::start(script).await;
    let gateway = collector.exporting(DIALECT.setup(&provider)).start();
    (provider, gateway)
}

/// Returns trace and span of a well-formed `traceparent`.
fn parts(traceparent: &str) -> (String, String) {
    let fields: Vec<&str> = traceparent.split('-').collect();
    let [version, trace, span, flags] = fields[..] else { panic!("{traceparent}") };
    assert_eq!((version, trace.len(), span.len(), flags.len()), ("00", 32, 16, 2), "{traceparent}");
    (trace.to_owned(), span.to_owned())
}

/// Returns the logged warnings and errors about telemetry.
fn warnings(gateway: &Gateway) -> Vec<String> {
    let log = gateway.log.lock().unwrap().clone();
    let about = |line: &&str| {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
        let target = line["target"].as_str().unwrap_or_default();
        (line["severity"] == "WARNING" || line["severity"] == "ERROR")
            && (target.starts_with("codex_gateway::telemetry")
                || target.starts_with("opentelemetry"))
    };
    log.lines().filter(about).map(str::to_owned).collect()
}

/// Waits for the end of a terminating gateway, which must succeed.
async fn wait_for_exit(gateway: &mut Gateway) {
    assert_eq!(soon("the process ends", gateway.exit_code()).await, 0);
}
