//! Logs. Pretty on a terminal, JSON elsewhere; `RUST_LOG` chooses what.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless `RUST_LOG` says otherwise. `codex_otel.log_only` carries prompts and
/// output at INFO: it stays out whatever `RUST_LOG` says.
const DEFAULT_FILTER: &str = "warn,codex_gateway=info,codex_gateway_engine=info";
const NEVER: &str = "codex_otel.log_only=off";

/// Installs the subscriber, once. Logs go to standard error: standard output is for answers.
pub fn init() {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let mut filter = EnvFilter::builder().parse_lossy(filter);
    if let Ok(never) = NEVER.parse() {
        filter = filter.add_directive(never);
    }
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let installed = if std::io::stderr().is_terminal() {
        registry.with(layer.with_target(false).compact()).try_init()
    } else {
        registry.with(layer.json().flatten_event(true)).try_init()
    };
    // Only a second call in one process fails, and then the first one's subscriber stays.
    drop(installed);
}
