//! Traces, metrics and logs, at a collector of the tests' own, a file per question: what the spans of a turn are, whose
//! trace it is, what is counted, what is logged, what is told to nobody, what the environment changes, and how it ends.

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
use serde_json::json;

use crate::support::Gateway;
use crate::support::collector::Collector;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;

/// How the scripted provider is spoken to.
const SPEAKS: &Speaks = &WIRES[0];

/// A caller's trace, and its span above the request.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A provider that gives these answers, and a gateway before it that exports to the collector.
async fn observed(
    collector: &Collector,
    script: impl IntoIterator<Item = Answer>,
) -> (Provider, Gateway) {
    let provider = Provider::start(script).await;
    let gateway = collector.observes(SPEAKS.setup(&provider)).start();
    (provider, gateway)
}

/// A prompt in a session of its own, and the whole answer.
async fn ask(gateway: &Gateway, session: &str, prompt: &str) -> Value {
    let body = json!({ "prompt": prompt, "session_id": session });
    gateway.post("/api/v1/exec", body).await.json()
}

/// Trace and span of a `traceparent`, which must be well-formed.
fn parts(traceparent: &str) -> (String, String) {
    let fields: Vec<&str> = traceparent.split('-').collect();
    let [version, trace, span, flags] = fields[..] else { panic!("{traceparent}") };
    assert_eq!((version, trace.len(), span.len(), flags.len()), ("00", 32, 16, 2), "{traceparent}");
    (trace.to_owned(), span.to_owned())
}

/// The warnings and errors of a log that are about telemetry.
fn complaints(gateway: &Gateway) -> Vec<String> {
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

/// Waits for a gateway that was told to end, and for what it still has to say.
async fn ended(gateway: &mut Gateway) {
    assert_eq!(crate::support::soon("the process ends", gateway.exit_code()).await, 0);
}
