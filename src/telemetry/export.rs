//! The OTLP exporters. Their results are watched, to log when the collector fails and recovers.
//!
//! Each exporter runs on a thread of the SDK. HTTP uses reqwest's blocking client, which must be
//! created outside the runtime. gRPC uses a runtime of its own, so that it never waits for the
//! gateway's workers. Unsent data waits in the SDK's bounded queues (`OTEL_BSP_*`, `OTEL_BLRP_*`)
//! and is dropped when they are full.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry::logs::LogRecord;
use opentelemetry_otlp::LogExporter;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_otlp::Protocol as Wire;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_otlp::WithHttpConfig;
use opentelemetry_otlp::WithTonicConfig;
use opentelemetry_otlp::tonic_types::transport::Certificate;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::tonic_types::transport::Identity;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::logs::LogProcessor;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanData;

use super::environment::Environment;
use super::environment::Protocol;
use super::environment::Signal;
use super::metrics::metrics;
use super::names;
use crate::sync::Mutex;

/// The attribute with core's name of an event. Without it, the name is a source line.
const EVENT_NAME: &str = "event.name";

/// The exporters that the environment enables.
pub(super) struct Exporters {
    pub(super) spans: Option<Watched<SpanExporter>>,
    pub(super) metrics: Option<Watched<MetricExporter>>,
    pub(super) logs: Option<Watched<LogExporter>>,
}

/// Builds the exporter of a signal, if it is enabled. A macro, because the three builder types
/// share method names but no trait.
macro_rules! exporter {
    ($builder:expr, $signal:expr, $environment:expr, $health:expr) => {
        match $environment.protocol($signal) {
            None => None,
            Some(protocol) => {
                let exporter = match wire(protocol) {
                    None => $builder().with_tonic().with_tls_config(tls($environment)).build()?,
                    Some(wire) => {
                        let client = client($environment, $signal)?;
                        $builder()
                            .with_http()
                            .with_protocol(wire)
                            .with_http_client(client)
                            .build()?
                    }
                };
                Some($health.watch($signal, exporter))
            }
        }
    };
}

/// Builds the exporters.
///
/// # Errors
/// An endpoint, a certificate or a header is malformed.
pub(super) fn exporters(environment: &Environment) -> anyhow::Result<Exporters> {
    let health = Health::default();
    let built = std::thread::scope(|scope| {
        // The blocking client cannot be created on a thread of the runtime.
        let builder = scope.spawn(|| {
            let grpc = Signal::ALL
                .into_iter()
                .any(|signal| environment.protocol(signal) == Some(Protocol::Grpc));
            let runtime = if grpc { Some(runtime()?) } else { None };
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            let metrics = || MetricExporter::builder().with_temporality(environment.temporality);
            anyhow::Ok(Exporters {
                spans: exporter!(SpanExporter::builder, Signal::Traces, environment, health),
                metrics: exporter!(metrics, Signal::Metrics, environment, health),
                logs: exporter!(LogExporter::builder, Signal::Logs, environment, health),
            })
        });
        builder.join()
    });
    built.map_err(|_| anyhow::anyhow!("building the OTLP exporters panicked"))?
}

/// Returns the encoding of HTTP bodies; `None` for gRPC.
fn wire(protocol: Protocol) -> Option<Wire> {
    match protocol {
        Protocol::HttpProtobuf => Some(Wire::HttpBinary),
        Protocol::HttpJson => Some(Wire::HttpJson),
        Protocol::Grpc => None,
    }
}

fn client(environment: &Environment, signal: Signal) -> anyhow::Result<reqwest::blocking::Client> {
    let mut builder = reqwest::blocking::Client::builder().timeout(environment.timeout(signal));
    if let Some(pem) = &environment.certificate {
        let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .context("OTEL_EXPORTER_OTLP_CERTIFICATE")?;
        for authority in authorities {
            builder = builder.add_root_certificate(authority);
        }
    }
    if let (Some(certificate), Some(key)) =
        (&environment.client_certificate, &environment.client_key)
    {
        let identity = reqwest::Identity::from_pem(format!("{certificate}\n{key}").as_bytes());
        builder = builder.identity(identity.context("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")?);
    }
    Ok(builder.build()?)
}

fn tls(environment: &Environment) -> ClientTlsConfig {
    let mut tls = ClientTlsConfig::new().with_native_roots();
    if let Some(pem) = &environment.certificate {
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    if let (Some(certificate), Some(key)) =
        (&environment.client_certificate, &environment.client_key)
    {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    tls
}

/// Starts a runtime on its own thread, for the life of the process.
fn runtime() -> anyhow::Result<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("otlp-grpc".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// The signals whose last export failed. Logs one warning at the first failure, and one line when
/// all exports succeed again.
#[derive(Debug, Clone, Default)]
struct Health(Arc<Mutex<Vec<Signal>>>);

impl Health {
    fn watch<E>(&self, signal: Signal, exporter: E) -> Watched<E> {
        Watched { exporter, signal, health: self.clone() }
    }

    fn note(&self, signal: Signal, result: &OTelSdkResult) {
        let mut down = self.0.lock();
        let were_down = down.len();
        down.retain(|known| *known != signal);
        match result {
            Ok(()) => {
                if were_down == 1 && down.is_empty() {
                    tracing::info!("exports to the telemetry collector succeed again");
                }
            }
            Err(error) => {
                down.push(signal);
                let label = KeyValue::new(names::SIGNAL, signal.as_str());
                metrics().export_failures.add(1, &[label]);
                if were_down == 0 {
                    tracing::warn!(
                        signal = signal.as_str(),
                        %error,
                        "cannot export to the telemetry collector; requests and turns are not affected"
                    );
                }
            }
        }
    }
}

/// An exporter whose results are reported to [`Health`].
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    signal: Signal,
    health: Health,
}

impl<E> Watched<E> {
    fn noted(&self, result: OTelSdkResult) -> OTelSdkResult {
        self.health.note(self.signal, &result);
        result
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Watched<SpanExporter> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for event in batch.iter_mut().flat_map(|span| &mut span.events.events) {
            let name = event.attributes.iter().find(|member| member.key.as_str() == EVENT_NAME);
            if let Some(name) = name.map(|name| name.value.to_string()) {
                event.name = name.into();
            }
        }
        self.noted(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&mut self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&mut self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Removes event names that are source lines from log records. Core's names are in an attribute.
#[derive(Debug)]
pub(super) struct StripEventNames;

impl LogProcessor for StripEventNames {
    fn emit(&self, record: &mut SdkLogRecord, _scope: &InstrumentationScope) {
        if record.event_name().is_some_and(|name| name.starts_with("event ")) {
            record.set_event_name("");
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

impl opentelemetry_sdk::logs::LogExporter for Watched<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.noted(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Watched<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.noted(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
