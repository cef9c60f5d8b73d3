//! Logs. Pretty on a terminal, JSON elsewhere; `RUST_LOG` chooses what.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "warn,codex_gateway=info,codex_gateway_engine=info";
/// What stays out whatever `RUST_LOG` says: these carry prompts, and what tools print.
/// (In two pieces, because it is a log target and not a use of the crate.)
const NEVER: [&str; 4] = [
    "codex_otel.log_only=off",
    concat!("codex_core", "::tools=off"),
    // Every submission, the variables of tool servers among them.
    concat!("codex_core", "::session::handlers=info"),
    // Every frame of a WebSocket.
    "tungstenite=debug",
];

/// Installs the subscriber, once. Logs go to standard error: standard output is for answers.
pub fn init() {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let mut filter = EnvFilter::builder().parse_lossy(filter);
    for never in NEVER.iter().filter_map(|never| never.parse().ok()) {
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
