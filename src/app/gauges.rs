//! Gauges that observe the state of an [`App`].

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::global;

use super::state::App;
use crate::conversation::record_status::RecordKind;
use crate::conversation::report::TurnStatus;
use crate::telemetry::metrics;
use crate::telemetry::names;
use crate::telemetry::names::Metric;
use crate::telemetry::names::SCOPE;
use crate::web::connections::CloseReason;

/// Registers the gauges. They report nothing once the app is dropped.
pub(crate) fn register(app: &Arc<App>) {
    let gauge = |metric: Metric, read: fn(&App) -> usize| {
        let app = Arc::downgrade(app);
        metrics::gauge(metric, move || Some(read(&*app.upgrade()?) as u64));
    };
    gauge(names::CONNECTIONS, |app| app.shutdown().connections());
    gauge(names::CONNECTIONS_UNAUTHENTICATED, |app| app.connections().unauthenticated());
    gauge(names::UNREAD, |app| app.connections().unread());
    gauge(names::STREAMS, App::open_streams);
    gauge(names::CONVERSATIONS, |app| app.conversations().len());
    gauge(names::TURNS_LIMIT, |app| app.config().turns.max_running);
    gauge(names::TURNS_RUNNING, |app| app.conversations().running());
    gauge(names::APPROVALS_PENDING, |app| app.conversations().pending_approvals());
    gauge(names::EVENT_LOG, |app| app.conversations().event_log_bytes());

    gauge(names::RECORDS_UNWRITABLE, |app| {
        usize::from(app.conversations().records().failure().is_some())
    });

    let observed = Arc::downgrade(app);
    metrics::observed_counter(names::RECORDS_FAILURES, move || {
        Some(vec![(observed.upgrade()?.conversations().records().failures(), None)])
    });
    let observed = Arc::downgrade(app);
    metrics::observed_counter(names::RECORDS_DAMAGED, move || {
        let app = observed.upgrade()?;
        let damaged = RecordKind::ALL.map(|kind| {
            let label = KeyValue::new(names::RECORD_KIND, kind.as_str());
            (app.conversations().records().damaged(kind), Some(label))
        });
        Some(damaged.to_vec())
    });
    let observed = Arc::downgrade(app);
    metrics::observed_counter(names::CONNECTIONS_CLOSED, move || {
        let app = observed.upgrade()?;
        let closed = CloseReason::ALL.map(|reason| {
            let label = KeyValue::new(names::CLOSE_REASON, reason.as_str());
            (app.connections().closed(reason), Some(label))
        });
        Some(closed.to_vec())
    });

    let runtime = tokio::runtime::Handle::current();
    metrics::gauge(names::TASKS, move || Some(runtime.metrics().num_alive_tasks() as u64));

    metrics().begin(&app.facts().model_provider, &TurnStatus::ALL.map(TurnStatus::as_str));

    let labels = [
        KeyValue::new(names::VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(names::ENGINE, app.facts().name),
    ];
    let meter = global::meter(SCOPE);
    let build = meter.u64_observable_gauge(names::BUILD.name);
    let build = build.with_description(names::BUILD.about);
    build.with_callback(move |observer| observer.observe(1, &labels)).build();
}
