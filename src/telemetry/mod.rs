//! What operators see: spans, metrics and logs. The one owner of what a process has one of: the
//! `tracing` subscriber, OpenTelemetry's providers and its propagator.
//!
//! - [`names`]: every metric, label and attribute; `metrics`: the instruments; `observe`: what is
//!   measured when somebody looks; `process`: the process itself;
//! - [`http`], [`rpc`], [`stream`], [`turn`], [`call`]: the spans, from a request down to its model and tool calls;
//! - [`trace`]: trace context, in and out; [`logs`]: what a line of the log looks like;
//! - [`environment`]: what `OTEL_*` says; `export`: where it goes; `resource`: whose it is; `sampler`: what is
//!   traced.
//!
//! Without an OTLP endpoint nothing is exported and core's own spans are not made; trace context still
//! passes through to the model and the tools, and `GET /metrics` still answers. Content (prompts,
//! arguments, output) stays out of all three signals unless `capture_content` is set.

pub mod environment;
mod export;
pub(crate) mod http;
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
pub(crate) use self::metrics::metrics;
use self::sampler::RootSampler;

/// The scope of the gateway's own spans and metrics.
pub(crate) const SCOPE: &str = "codex_gateway";
/// Core's events without content.
const TRACE_SAFE: &str = "codex_otel.trace_safe";
/// Core's events with content.
const WITH_CONTENT: &str = "codex_otel.log_only";
/// What the targets of codex's crates begin with, the gateway's among them.
const CODEX: &str = "codex_";

static CAPTURE_CONTENT: AtomicBool = AtomicBool::new(false);
static SCRAPED: OnceLock<prometheus::Registry> = OnceLock::new();

/// `[gateway.telemetry]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether prompts, arguments and output may leave in spans and logs.
    pub capture_content: bool,
    /// Whether `GET /metrics` answers without a key.
    pub metrics_open: bool,
    /// What a line of the log looks like.
    pub log_format: logs::Format,
}

/// The providers, for as long as the process may have something to say.
#[derive(Debug)]
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
    logger: Option<SdkLoggerProvider>,
    exports: bool,
}

/// Installs everything, once per process.
///
/// # Errors
/// A variable of `OTEL_*` has a value that it does not take, or an exporter cannot be made.
pub fn start(settings: Settings, destination: logs::Destination) -> anyhow::Result<Telemetry> {
    let environment = Environment::read(&|name| std::env::var(name).ok())?;
    CAPTURE_CONTENT.store(settings.capture_content, Ordering::Relaxed);
    let resource = resource::detect(&environment);
    let export::Exporters { spans, metrics: pushed, logs } =
        export::exporters(&environment).context("the OTLP exporter cannot be made")?;
    let exports = environment.exports();

    let registry = prometheus::Registry::new();
    let scraped = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_scope_info()
        .build()?;
    let mut meter =
        SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(scraped);
    if let Some(pushed) = pushed {
        meter = meter.with_periodic_exporter(pushed);
    }
    let meter = meter.build();

    let mut tracer = SdkTracerProvider::builder().with_resource(resource.clone());
    tracer = match spans {
        Some(spans) => {
            let sampler = RootSampler::new(environment.sampler.clone());
            tracer.with_batch_exporter(spans).with_sampler(sampler)
        }
        None => tracer.with_sampler(RootSampler::off()),
    };
    let tracer = tracer.build();
    let logger = logs.map(|logs| {
        SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(export::Unnamed)
            .with_batch_exporter(logs)
            .build()
    });

    global::set_text_map_propagator(environment.propagator());
    global::set_meter_provider(meter.clone());
    global::set_tracer_provider(tracer.clone());
    // A second start in one process (unit tests) leaves the first one's.
    let _ = SCRAPED.set(registry);
    process::measure();
    metrics();

    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(logs::span_filter(environment.endpoint(Signal::Traces)));
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        vec![logs::lines(settings.log_format, destination), Box::new(spans)];
    if let Some(logger) = &logger {
        let bridge = OpenTelemetryTracingBridge::new(logger);
        layers.push(Box::new(bridge.with_filter(logs::export_filter(settings.capture_content))));
    }
    // Only a second call in one process fails, and then the first one's subscriber stays.
    drop(tracing_subscriber::registry().with(layers).try_init());
    Ok(Telemetry { tracer, meter, logger, exports })
}

/// Whether prompts, arguments and output may leave.
pub(crate) fn captures_content() -> bool {
    CAPTURE_CONTENT.load(Ordering::Relaxed)
}

/// The metrics in Prometheus's text format (version 0.0.4).
///
/// # Errors
/// They cannot be gathered.
pub(crate) fn scrape() -> Result<String, prometheus::Error> {
    let families = SCRAPED.get().map(prometheus::Registry::gather).unwrap_or_default();
    prometheus::TextEncoder::new().encode_to_string(&families)
}

impl Telemetry {
    /// Whether anything is exported.
    pub fn exports(&self) -> bool {
        self.exports
    }

    /// Exports what is left, within `limit`: a collector that hangs does not hold the process up.
    pub async fn shutdown(self, limit: Duration) {
        let Self { tracer, meter, logger, exports } = self;
        if !exports {
            return;
        }
        let (done, ended) = oneshot::channel();
        // Threads of their own: the exporters block, and must be dropped outside the runtime.
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
            tracing::warn!("the telemetry collector did not take the rest in time");
        }
    }
}
