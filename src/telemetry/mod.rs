//! Spans, metrics and logs. Owns the process-wide state: the `tracing` subscriber, OpenTelemetry's
//! providers and its propagator.
//!
//! - [`names`]: metrics, labels and attributes; `metrics`: the instruments; `process`: the metrics
//!   of the process;
//! - `http`, `rpc`: the spans of requests and JSON-RPC calls; other spans are beside their
//!   subjects;
//! - [`trace`]: propagation of trace context; [`logs`]: log lines and filters; `log_writer`: the
//!   thread that writes them;
//! - [`environment`]: the `OTEL_*` variables; `export`: the OTLP exporters; `resource`: the
//!   identity of the process; `sampler`: the roots of traces.
//!
//! Without an OTLP endpoint nothing is exported and core's spans are disabled. Trace context still
//! propagates to models and tools, and `GET /metrics` still works. Prompts, arguments and output
//! stay out of all signals unless `capture_content` is set.

pub mod environment;
mod export;
pub(crate) mod http;
mod log_writer;
pub mod logs;
pub(crate) mod metrics;
pub mod names;
mod process;
mod resource;
pub(crate) mod rpc;
mod sampler;
pub mod trace;

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::sync::oneshot;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::environment::Environment;
use self::environment::Signal;
use self::log_writer::LogWriter;
pub(crate) use self::metrics::metrics;
use self::names::SCOPE;
use self::sampler::RootSampler;

static CAPTURE_CONTENT: AtomicBool = AtomicBool::new(false);
static FORWARD_BAGGAGE: AtomicBool = AtomicBool::new(false);
static SCRAPED: OnceLock<prometheus::Registry> = OnceLock::new();
static LOG: OnceLock<LogWriter> = OnceLock::new();

/// The settings of `[gateway.telemetry]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether spans and logs may contain prompts, arguments and output.
    pub capture_content: bool,
    /// Whether `GET /metrics` needs no API key.
    pub metrics_open: bool,
    /// The format of log lines.
    pub log_format: logs::Format,
    /// Whether the caller's baggage goes on to model providers.
    pub forward_baggage: bool,
}

/// The providers. Kept until the process ends.
#[derive(Debug)]
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
    logger: Option<SdkLoggerProvider>,
    exports: bool,
}

/// Installs the `tracing` subscriber and OpenTelemetry's global providers, once per process.
///
/// # Errors
/// An `OTEL_*` variable has an invalid value, an exporter cannot be built, or the log cannot be
/// opened.
pub fn start(settings: Settings, destination: logs::Destination) -> anyhow::Result<Telemetry> {
    let environment = Environment::read(&|name| std::env::var(name).ok())?;
    CAPTURE_CONTENT.store(settings.capture_content, Ordering::Relaxed);
    FORWARD_BAGGAGE.store(settings.forward_baggage, Ordering::Relaxed);
    let registry = prometheus::Registry::new();
    let telemetry = providers(&environment, &registry)?;

    global::set_text_map_propagator(environment.propagator());
    global::set_meter_provider(telemetry.meter.clone());
    global::set_tracer_provider(telemetry.tracer.clone());
    // A second start in one process (unit tests) keeps the first registry.
    let _ = SCRAPED.set(registry);
    process::measure();
    metrics();
    let writer = logs::writer(destination).context("cannot write the log")?;
    let dropped = writer.clone();
    metrics::observed_counter(names::LOG_DROPPED, move || Some(vec![(dropped.dropped(), None)]));
    let _ = LOG.set(writer.clone());

    let spans = tracing_opentelemetry::layer()
        .with_tracer(telemetry.tracer.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(logs::span_filter(environment.exports_signal(Signal::Traces)));
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        vec![logs::lines(settings.log_format, destination, writer), Box::new(spans)];
    if let Some(logger) = &telemetry.logger {
        let bridge = OpenTelemetryTracingBridge::new(logger);
        layers.push(Box::new(bridge.with_filter(logs::export_filter(settings.capture_content))));
    }
    // Fails only for a second start in one process, which keeps the first subscriber.
    drop(tracing_subscriber::registry().with(layers).try_init());
    Ok(telemetry)
}

/// Builds the providers. Metrics are always collected for `registry`. The environment enables the
/// exporters.
fn providers(
    environment: &Environment,
    registry: &prometheus::Registry,
) -> anyhow::Result<Telemetry> {
    let resource = resource::detect(environment);
    let export::Exporters { spans, metrics: pushed, logs } =
        export::exporters(environment).context("cannot build the OTLP exporters")?;
    let scraped = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_scope_info()
        .build()?;
    let mut meter =
        SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(scraped);
    if let Some(pushed) = pushed {
        meter = meter.with_periodic_exporter(pushed);
    }
    let tracer = SdkTracerProvider::builder().with_resource(resource.clone());
    let tracer = match spans {
        Some(spans) => {
            let sampler = RootSampler::new(environment.sampler.clone());
            tracer.with_batch_exporter(spans).with_sampler(sampler)
        }
        None => tracer.with_sampler(RootSampler::off()),
    };
    let logger = logs.map(|logs| {
        SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(export::StripEventNames)
            .with_batch_exporter(logs)
            .build()
    });
    Ok(Telemetry {
        tracer: tracer.build(),
        meter: meter.build(),
        logger,
        exports: environment.exports(),
    })
}

/// Returns whether spans and logs may contain prompts, arguments and output.
pub(crate) fn captures_content() -> bool {
    CAPTURE_CONTENT.load(Ordering::Relaxed)
}

/// Blocks until the lines logged so far are written, at most `limit`.
pub(crate) fn flush_log(limit: Duration) {
    if let Some(log) = LOG.get() {
        log.flush_within(limit);
    }
}

/// Returns whether the caller's baggage goes on to model providers.
pub(crate) fn forwards_baggage() -> bool {
    FORWARD_BAGGAGE.load(Ordering::Relaxed)
}

/// Returns the metrics in Prometheus's text format (version 0.0.4).
///
/// # Errors
/// A metric cannot be encoded.
pub(crate) fn scrape() -> Result<String, prometheus::Error> {
    let families = SCRAPED.get().map(prometheus::Registry::gather).unwrap_or_default();
    prometheus::TextEncoder::new().encode_to_string(&families)
}

impl Telemetry {
    /// Returns whether any signal is exported.
    pub fn exports(&self) -> bool {
        self.exports
    }

    /// Exports what is queued, within `limit` even if the collector hangs.
    pub async fn shutdown(self, limit: Duration) {
        let Self { tracer, meter, logger, exports } = self;
        if !exports {
            return;
        }
        let (done, ended) = oneshot::channel();
        // On their own threads: the exporters block, and must be dropped outside the runtime.
        std::thread::spawn(move || {
            std::thread::scope(|scope| {
                scope.spawn(|| drop(tracer.shutdown_with_timeout(limit)));
                scope.spawn(|| drop(meter.shutdown_with_timeout(limit)));
                if let Some(logger) = &logger {
                    scope.spawn(|| drop(logger.shutdown_with_timeout(limit)));
                }
            });
            let _ = done.send(());
        });
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!("cannot export the remaining telemetry in time");
        }
    }
}
