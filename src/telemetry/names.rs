//! The metrics (name, unit, labels) and the names of span attributes. Tests compare
//! `docs/telemetry.md`, the dashboard and the alerts with this file.
//!
//! Names that start with `http.`, `gen_ai.` and `process.` follow OpenTelemetry's semantic
//! conventions; the gateway's own start with `codex_gateway.`. Labels are bounded: a route is its
//! template, and of model names and provider errors only the first [`MAX_VALUES`] are distinct.

/// The instrumentation scope of the gateway's spans and metrics, and the prefix of its log targets.
pub(crate) const SCOPE: &str = "codex_gateway";

/// The number of distinct values of a label that clients or providers choose. Further values
/// become [`OTHER`].
pub const MAX_VALUES: usize = 64;
/// The label value of everything that has no value of its own.
pub const OTHER: &str = "_OTHER";

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that only increases.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// Returns the name that `docs/telemetry.md` uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The OTLP name. In Prometheus, `.` becomes `_` and the unit is appended.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The unit in UCUM notation; empty if there is none.
    pub unit: &'static str,
    /// The label keys.
    pub labels: &'static [&'static str],
    /// The description; Prometheus shows it as help text.
    pub about: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $unit:literal, [$($label:expr),*], $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                about: $about,
            };
        )*
        /// Every metric.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    HTTP_DURATION = "http.server.request.duration", Histogram, "s",
        [METHOD, ROUTE, STATUS_CODE, ERROR_TYPE],
        "Duration of a request, from its head to the last byte of the response. A stream counts until it ends or its reader leaves.";
    HTTP_ACTIVE = "http.server.active_requests", Gauge, "{request}", [METHOD],
        "Requests in progress, open streams included.";
    REFUSED = "codex_gateway.requests.refused", Counter, "{request}", [ERROR_TYPE],
        "Requests and JSON-RPC calls answered with an error, by error code. `overloaded`: a concurrency or queue limit was reached.";
    CONNECTIONS = "codex_gateway.connections", Gauge, "{connection}", [],
        "Open connections.";
    CONNECTIONS_UNAUTHENTICATED = "codex_gateway.connections.unauthenticated", Gauge,
        "{connection}", [],
        "Open connections without an authenticated request so far. They are the first to make room for others.";
    CONNECTIONS_CLOSED = "codex_gateway.connections.closed", Counter, "{connection}",
        [CLOSE_REASON],
        "Connections that the gateway closed: `idle` or `head_timeout` by their time limits, `address_limit` or `pressure` to make room, `unread` for memory.";
    UNREAD = "codex_gateway.responses.unread", Gauge, "By", [],
        "Bytes of responses that clients have not read.";
    STREAMS = "codex_gateway.streams", Gauge, "{stream}", [],
        "Open event streams: JSONL, SSE and WebSocket subscriptions.";
    STREAM_EVENTS = "codex_gateway.stream.events", Counter, "{event}", [],
        "Events sent to readers.";
    STREAM_BYTES = "codex_gateway.stream.size", Counter, "By", [],
        "Bytes of events sent to readers, without framing.";
    STREAM_LAG = "codex_gateway.stream.lag", Histogram, "{event}", [],
        "Number of events by which a reader was still behind after a read.";
    STREAM_LOST = "codex_gateway.stream.lost", Counter, "{event}", [],
        "Events dropped from the event log before a reader reached them. The reader receives a notice.";
    EVENTS = "codex_gateway.events", Counter, "{event}", [],
        "Events received from codex-core and added to the event logs.";
    TURNS_STARTED = "codex_gateway.turns.started", Counter, "{turn}", [PROVIDER],
        "Started turns.";
    TURNS_ENDED = "codex_gateway.turns.ended", Counter, "{turn}", [PROVIDER, STATUS],
        "Ended turns, by status: `completed`, `failed`, `cancelled` or `timed_out`.";
    TURNS_RUNNING = "codex_gateway.turns.running", Gauge, "{turn}", [],
        "Running turns.";
    TURNS_REFUSED = "codex_gateway.turns.refused", Counter, "{turn}", [],
        "Prompts refused because `max_running_turns` turns were running.";
    TURNS_LIMIT = "codex_gateway.turns.limit", Gauge, "{turn}", [],
        "`max_running_turns`.";
    TURN_DURATION = "codex_gateway.turn.duration", Histogram, "s", [PROVIDER, STATUS],
        "Duration of a turn, from the prompt to its last event.";
    TURN_FIRST_EVENT = "codex_gateway.turn.time_to_first_event", Histogram, "s", [PROVIDER],
        "Time from the prompt to the first event of its turn.";
    TURN_FIRST_TOKEN = "codex_gateway.turn.time_to_first_token", Histogram, "s", [PROVIDER],
        "Time from the prompt to the first output or reasoning token of the model.";
    TOKENS = "gen_ai.client.token.usage", Histogram, "{token}",
        [OPERATION, PROVIDER, MODEL, TOKEN_TYPE],
        "Tokens per model call: `input` (including cached tokens) and `output` (including reasoning tokens).";
    MODEL_DURATION = "gen_ai.client.operation.duration", Histogram, "s",
        [OPERATION, PROVIDER, MODEL, ERROR_TYPE],
        "Duration of a model call, including retries and the wait for a concurrency slot.";
    MODEL_FIRST_TOKEN = "codex_gateway.model.time_to_first_token", Histogram, "s",
        [PROVIDER, MODEL],
        "Time from the start of a model call to its first output or reasoning token.";
    MODEL_QUEUED = "codex_gateway.model.queued", Histogram, "s", [PROVIDER],
        "Time that a model call waited for a concurrency slot of its provider (`max_concurrent`).";
    MODEL_RETRIES = "codex_gateway.model.retries", Counter, "{attempt}", [PROVIDER],
        "Retries of model calls.";
    TOOL_CALLS = "codex_gateway.tool.calls", Counter, "{call}", [TOOL, OUTCOME],
        "Finished commands, patches and tool calls, by outcome: `ok` or `error`.";
    TOOL_DURATION = "codex_gateway.tool.duration", Histogram, "s", [TOOL],
        "Duration of a command, a patch or a tool call.";
    APPROVALS_PENDING = "codex_gateway.approvals.pending", Gauge, "{approval}", [],
        "Approval requests and questions of agents that wait for an answer.";
    APPROVAL_WAIT = "codex_gateway.approval.duration", Histogram, "s", [DECISION],
        "Time from an approval request to its decision.";
    CONVERSATIONS = "codex_gateway.conversations", Gauge, "{conversation}", [],
        "Live conversations.";
    CONVERSATIONS_ABANDONED = "codex_gateway.conversations.abandoned", Counter, "{conversation}", [],
        "Conversations that were given up because they did not end within 10 seconds: a tool server or a hook hung.";
    EVENT_LOG = "codex_gateway.event_log.size", Gauge, "By", [],
        "Bytes of events kept in the event logs for later readers.";
    RECORDS_UNWRITABLE = "codex_gateway.records.unwritable", Gauge, "", [],
        "1 while sessions cannot be stored, because the disk is full or read-only; else 0.";
    RECORDS_FAILURES = "codex_gateway.records.write_failures", Counter, "{write}", [],
        "Failed writes of sessions and folders, and failed trials. Nothing half-written stays.";
    RECORDS_DAMAGED = "codex_gateway.records.damaged", Counter, "{record}", [RECORD_KIND],
        "Damaged records that were found: lines of the files of sessions and folders, and of recordings.";
    TASKS = "codex_gateway.tasks", Gauge, "{task}", [],
        "Tasks of the async runtime.";
    EXPORT_FAILURES = "codex_gateway.telemetry.export_failures", Counter, "{export}", [SIGNAL],
        "Exports that failed, by signal: the collector was unreachable or rejected them.";
    LOG_DROPPED = "codex_gateway.log.lines_dropped", Counter, "{line}", [],
        "Log lines that were dropped because the log was not read.";
    MEMORY = "process.memory.usage", Gauge, "By", [],
        "Resident memory of the process.";
    CPU = "process.cpu.time", Counter, "s", [CPU_MODE],
        "CPU time of the process: `user` and `system`.";
    FILES = "process.unix.file_descriptor.count", Gauge, "{file_descriptor}", [],
        "Open file descriptors.";
    THREADS = "process.thread.count", Gauge, "{thread}", [],
        "Threads of the process.";
    UPTIME = "process.uptime", Gauge, "s", [],
        "Time since the process started.";
    BUILD = "codex_gateway.build.info", Gauge, "", [VERSION, ENGINE],
        "Always 1. The labels identify the version.";
}

/// `http.request.method`
pub const METHOD: &str = "http.request.method";
/// `http.route`: the route's template, or `_OTHER` if no route matches.
pub const ROUTE: &str = "http.route";
/// `http.response.status_code`
pub const STATUS_CODE: &str = "http.response.status_code";
/// The reason why the gateway closed a connection.
pub const CLOSE_REASON: &str = "codex_gateway.connection.close_reason";
/// `error.type`: the error code of the gateway, or that of the provider.
pub const ERROR_TYPE: &str = "error.type";
/// `gen_ai.operation.name`: `chat`.
pub const OPERATION: &str = "gen_ai.operation.name";
/// `gen_ai.provider.name`: the provider's id in the configuration.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// `gen_ai.request.model`
pub const MODEL: &str = "gen_ai.request.model";
/// `gen_ai.token.type`: `input` or `output`.
pub const TOKEN_TYPE: &str = "gen_ai.token.type";
/// `gen_ai.tool.name`: one of a few kinds on metrics, the tool's name on spans.
pub const TOOL: &str = "gen_ai.tool.name";
/// The status of an ended turn.
pub const STATUS: &str = "codex_gateway.turn.status";
/// `ok` or `error`.
pub const OUTCOME: &str = "codex_gateway.tool.outcome";
/// The decision on an approval request.
pub const DECISION: &str = "codex_gateway.approval.decision";
/// `session`, `folder` or `recording`.
pub const RECORD_KIND: &str = "codex_gateway.record.kind";
/// `traces`, `metrics` or `logs`.
pub const SIGNAL: &str = "codex_gateway.telemetry.signal";
/// `user` or `system`.
pub const CPU_MODE: &str = "cpu.mode";
/// The gateway's version.
pub const VERSION: &str = "version";
/// The agent engine: `codex-core`.
pub const ENGINE: &str = "engine";

/// Buckets of durations in seconds: from a request of a millisecond to a turn of half an hour.
pub const SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0, 600.0, 1200.0, 1800.0,
];
/// Buckets of tokens, as OpenTelemetry recommends for `gen_ai.client.token.usage`.
pub const TOKEN_BUCKETS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Buckets of reader lag in events.
pub const LAG_BUCKETS: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 10_000.0];

/// Span attributes that are not metric labels as well.
pub mod attribute {
    /// Codex's thread id.
    pub const CONVERSATION: &str = "gen_ai.conversation.id";
    /// The conversation again, for viewers that group traces by session.
    pub const SESSION: &str = "session.id";
    /// `codex`.
    pub const AGENT: &str = "gen_ai.agent.name";
    /// The turn id.
    pub const TURN: &str = "codex_gateway.turn.id";
    /// The name of the caller's key.
    pub const CALLER: &str = "codex_gateway.caller";
    /// Input tokens.
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    /// The input tokens read from the provider's cache.
    pub const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    /// Output tokens.
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    /// The output tokens used for reasoning.
    pub const REASONING_TOKENS: &str = "codex_gateway.usage.reasoning_tokens";
    /// Seconds to the first token.
    pub const FIRST_TOKEN: &str = "codex_gateway.time_to_first_token";
    /// Seconds to the first event.
    pub const FIRST_EVENT: &str = "codex_gateway.time_to_first_event";
    /// The number of times a model call was sent.
    pub const ATTEMPTS: &str = "codex_gateway.model.attempts";
    /// Seconds that a model call waited for a concurrency slot.
    pub const QUEUED: &str = "codex_gateway.model.queued";
    /// The id of a tool call.
    pub const CALL: &str = "gen_ai.tool.call.id";
    /// `function` for commands and patches, `extension` for tools of tool servers.
    pub const TOOL_TYPE: &str = "gen_ai.tool.type";
    /// The tool server.
    pub const SERVER: &str = "mcp.server.name";
    /// The exit code of a command.
    pub const EXIT_CODE: &str = "process.exit.code";
    /// The number of files that a patch changes.
    pub const FILES: &str = "codex_gateway.patch.files";
    /// The number of events that a stream carried.
    pub const EVENTS: &str = "codex_gateway.stream.events";
    /// `jsonrpc`.
    pub const RPC_SYSTEM: &str = "rpc.system";
    /// The JSON-RPC method.
    pub const RPC_METHOD: &str = "rpc.method";
    /// The prompt; only with `capture_content`.
    pub const INPUT: &str = "gen_ai.input.messages";
    /// The agent's messages; only with `capture_content`.
    pub const OUTPUT: &str = "gen_ai.output.messages";
    /// The arguments of a tool call; only with `capture_content`.
    pub const ARGUMENTS: &str = "gen_ai.tool.call.arguments";
    /// The result of a tool call; only with `capture_content`.
    pub const RESULT: &str = "gen_ai.tool.call.result";
    /// The span kind for viewers that follow OpenInference: `AGENT`, `LLM`, `TOOL`.
    pub const OPENINFERENCE: &str = "openinference.span.kind";
}
