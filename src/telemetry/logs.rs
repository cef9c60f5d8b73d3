//! The log: its format, and the filters of log records and spans.
//!
//! On a terminal a line is compact text. Elsewhere it is a JSON object with the members that Google
//! Cloud Logging reads (`severity`, `message`, `time`, `logging.googleapis.com/trace`, …),
//! `trace_id`, `span_id`, and the fields of the enclosing spans, such as `request_id`. `RUST_LOG`
//! filters both.

use std::fmt;
use std::io::IsTerminal;
use std::sync::LazyLock;

use chrono::SecondsFormat;
use chrono::Utc;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use tracing::Event;
use tracing::Level;
use tracing::Metadata;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::FormatEvent;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;

use super::log_writer;
use super::log_writer::LogWriter;
use super::names::SCOPE;

/// The target prefix of the gateway and of codex's crates.
const CODEX: &str = "codex_";
/// The target of core's events without content.
const TRACE_SAFE: &str = "codex_otel.trace_safe";
/// The target of core's events with content.
const WITH_CONTENT: &str = "codex_otel.log_only";

/// The default of `RUST_LOG`.
const DEFAULT_FILTER: &str = "warn,codex_gateway=info,codex_gateway_engine=info";
/// Directives that `RUST_LOG` can override. OpenTelemetry logs every failed export, which
/// `telemetry::export` reports once; core warns several times a turn about models that are not
/// OpenAI's.
const QUIET: &str = concat!("opentelemetry=off,", "codex_models_manager", "::model_info=error");
/// Levels that `RUST_LOG` cannot raise: these targets log prompts and tool output.
/// (Split literals, because a house test looks for paths of codex crates.)
const NEVER: [(&str, LevelFilter); 4] = [
    (WITH_CONTENT, LevelFilter::OFF),
    (concat!("codex_core", "::tools"), LevelFilter::OFF),
    // Logs every submission, including the environment variables of tool servers.
    (concat!("codex_core", "::session::handlers"), LevelFilter::INFO),
    // Logs every WebSocket frame.
    ("tungstenite", LevelFilter::DEBUG),
];

/// A span of core that lasts as long as its conversation. It would be the parent of every turn.
const SESSION_LOOP: &str = "session_loop";

/// `gateway.telemetry.log_format`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text.
    Pretty,
}

/// The stream that log lines go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Standard output: a server writes nothing else there.
    Stdout,
    /// Standard error: the standard output of other commands is their result.
    Stderr,
}

/// Starts the thread that writes log lines.
///
/// # Errors
/// The thread cannot be started, or the output is not open.
pub(super) fn writer(destination: Destination) -> std::io::Result<LogWriter> {
    let output = match destination {
        Destination::Stdout => log_writer::unbuffered(&std::io::stdout()),
        Destination::Stderr => log_writer::unbuffered(&std::io::stderr()),
    }?;
    LogWriter::start(output, |lines| {
        tracing::warn!(lines, "log lines were dropped: the log was not read");
    })
}

/// Returns the layer that writes log lines.
pub(super) fn lines(
    format: Format,
    destination: Destination,
    writer: LogWriter,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = match destination {
        Destination::Stdout => std::io::stdout().is_terminal(),
        Destination::Stderr => std::io::stderr().is_terminal(),
    };
    let json = match format {
        Format::Auto => !terminal,
        Format::Json => true,
        Format::Pretty => false,
    };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let filter = format!("{QUIET},{filter}");
    // Each filter has a level hint. Without it, every record of the `log` crate would be evaluated,
    // several per WebSocket frame.
    let allowed = filter_fn(is_allowed).with_max_level_hint(LevelFilter::TRACE);
    // Spans carry the request id of a line.
    let spans = filter_fn(|metadata| {
        metadata.is_span() && is_own(metadata) && *metadata.level() <= Level::INFO
    });
    let spans = spans.with_max_level_hint(LevelFilter::INFO);
    let filter = EnvFilter::builder().parse_lossy(filter).and(allowed).or(spans);
    let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    if json {
        layer.fmt_fields(JsonFields::new()).event_format(JsonLine).with_filter(filter).boxed()
    } else {
        layer.with_ansi(terminal).with_target(false).compact().with_filter(filter).boxed()
    }
}

/// Returns the filter of spans: the gateway's own always, core's if spans are exported. Core's
/// events without content become span events.
pub(super) fn span_filter(exported: bool) -> impl Filter<Registry> {
    filter_fn(move |metadata| {
        if *metadata.level() > Level::INFO {
            false
        } else if metadata.is_span() {
            is_own(metadata)
                || (exported
                    && metadata.target().starts_with(CODEX)
                    && metadata.name() != SESSION_LOOP)
        } else {
            exported && metadata.target().starts_with(TRACE_SAFE)
        }
    })
    .with_max_level_hint(LevelFilter::INFO)
}

/// Returns the filter of exported log records: the gateway's own, and core's without content. With
/// `content`, core's records with content replace the latter.
pub(super) fn export_filter(content: bool) -> impl Filter<Registry> {
    let events = if content { WITH_CONTENT } else { TRACE_SAFE };
    filter_fn(move |metadata| {
        *metadata.level() <= Level::INFO
            && metadata.is_event()
            && (is_own(metadata) || metadata.target().starts_with(events))
    })
    .with_max_level_hint(LevelFilter::INFO)
}

fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let cap = NEVER.iter().find(|(target, _)| metadata.target().starts_with(target));
    cap.is_none_or(|(_, cap)| metadata.level() <= cap)
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with(SCOPE)
}

/// Formats an event as one JSON object.
struct JsonLine;

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        let mut set = |key: &str, value: Value| line.insert(key.to_owned(), value);
        set("time", Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true).into());
        set("severity", severity(event.metadata().level()).into());
        set("message", "".into());
        set("target", event.metadata().target().into());
        trace_members(&mut line);
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<JsonFields>>()
                && let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&fields.fields)
            {
                let fields = fields.into_iter().filter(|(key, _)| !key.starts_with("otel."));
                line.extend(fields);
            }
        }
        event.record(&mut Members(&mut line));
        // A record of the `log` crate carries its metadata as fields.
        if let Some(target) = line.remove("log.target") {
            line.insert("target".to_owned(), target);
            line.retain(|key, _| !key.starts_with("log."));
        }
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// Returns the severity name of Google Cloud Logging, which other log services understand too.
fn severity(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// Adds the ids of the current trace and span.
fn trace_members(line: &mut Map<String, Value>) {
    static PROJECT: LazyLock<Option<String>> = LazyLock::new(|| {
        std::env::var("GOOGLE_CLOUD_PROJECT").ok().filter(|project| !project.is_empty())
    });
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    let (trace_id, span_id) = (span.trace_id().to_string(), span.span_id().to_string());
    let trace = match &*PROJECT {
        Some(project) => format!("projects/{project}/traces/{trace_id}"),
        None => trace_id.clone(),
    };
    let mut set = |key: &str, value: Value| line.insert(key.to_owned(), value);
    set("trace_id", trace_id.into());
    set("span_id", span_id.clone().into());
    set("logging.googleapis.com/trace", trace.into());
    set("logging.googleapis.com/spanId", span_id.into());
    set("logging.googleapis.com/trace_sampled", span.is_sampled().into());
}

/// Adds the fields of an event as members.
struct Members<'a>(&'a mut Map<String, Value>);

impl Members<'_> {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_line_has_severity_and_span_fields() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(JsonLine);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("request", otel.name = "GET /x", request_id = "r-1");
            let _entered = span.enter();
            tracing::warn!(count = 3, text = "a \"b\"", "it {}", "happened");
        });
        let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["severity"], "WARNING");
        assert_eq!(line["message"], "it happened");
        assert_eq!((&line["count"], &line["text"]), (&3.into(), &r#"a "b""#.into()));
        assert_eq!(line["request_id"], "r-1");
        assert!(line["time"].is_string() && line.get("otel.name").is_none());
    }
}
