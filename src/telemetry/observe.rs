//! What is measured when somebody looks: how much of everything there is.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::global;

use super::SCOPE;
use super::metrics;
use super::names;
use super::names::Metric;
use crate::gateway::Gateway;

/// Registers what is measured of the gateway, for as long as it lives.
pub(crate) fn observe(gateway: &Arc<Gateway>) {
    let gauge = |metric: Metric, read: fn(&Gateway) -> usize| {
        let gateway = Arc::downgrade(gateway);
        metrics::gauge(metric, move || Some(read(&*gateway.upgrade()?) as u64));
    };
    gauge(names::CONNECTIONS, |gateway| gateway.shutdown().connections());
    gauge(names::STREAMS, Gateway::open_streams);
    gauge(names::CONVERSATIONS, |gateway| gateway.conversations().len());
    gauge(names::TURNS_RUNNING, |gateway| gateway.conversations().running());
    gauge(names::APPROVALS_PENDING, |gateway| gateway.conversations().pending_approvals());
    gauge(names::EVENT_LOG, |gateway| gateway.conversations().event_log_bytes());

    let runtime = tokio::runtime::Handle::current();
    metrics::gauge(names::TASKS, move || Some(runtime.metrics().num_alive_tasks() as u64));

    metrics().begin(&gateway.facts().model_provider);

    let labels = [
        KeyValue::new(names::VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(names::ENGINE, gateway.facts().name),
    ];
    let meter = global::meter(SCOPE);
    let build = meter.u64_observable_gauge(names::BUILD.name);
    let build = build.with_description(names::BUILD.about);
    build.with_callback(move |observer| observer.observe(1, &labels)).build();
}
