//! Every metric: its name, its unit, its labels; and the names of the attributes of spans. The one place
//! for them: `docs/telemetry.md`, the dashboard and the alerts are compared with it by tests.
//!
//! Names that start with `http.`, `gen_ai.` and `process.` are OpenTelemetry's semantic conventions; those of the
//! gateway's own start with `codex_gateway.`. Labels are bounded: a route is its template, a model or a
//! provider's error one of the first [`MAX_VALUES`] seen.

/// How many values of a label that come from outside are told apart; the rest are [`OTHER`].
pub const MAX_VALUES: usize = 64;
/// The label value of what is not named.
pub const OTHER: &str = "_OTHER";

/// How a metric adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often which size was seen.
    Histogram,
}

impl Kind {
    /// The word for it.
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
    /// Its name, as over OTLP. Prometheus sees `_` for `.` and the unit at the end.
    pub name: &'static str,
    /// How it adds up.
    pub kind: Kind,
    /// UCUM. Empty where it has none.
    pub unit: &'static str,
    /// The keys of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
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
        "From the head of a request to the last byte of its answer; a stream lasts as long as it is read.";
    HTTP_ACTIVE = "http.server.active_requests", Gauge, "{request}", [METHOD],
        "Requests whose answer has not ended.";
    REFUSED = "codex_gateway.requests.refused", Counter, "{request}", [ERROR_TYPE],
        "Requests and calls that were answered with an error, by its code: `overloaded` is the limit of rates and queues.";
    CONNECTIONS = "codex_gateway.connections", Gauge, "{connection}", [],
        "Open connections.";
    STREAMS = "codex_gateway.streams", Gauge, "{stream}", [],
        "Open event streams: JSONL, SSE, and subscriptions of WebSockets.";
    STREAM_EVENTS = "codex_gateway.stream.events", Counter, "{event}", [],
        "Events handed to readers.";
    STREAM_BYTES = "codex_gateway.stream.size", Counter, "By", [],
        "Bytes of events handed to readers, before their framing.";
    STREAM_LAG = "codex_gateway.stream.lag", Histogram, "{event}", [],
        "How many events a reader was still behind after it had read.";
    STREAM_LOST = "codex_gateway.stream.lost", Counter, "{event}", [],
        "Events that were gone before their reader came; it was told.";
    EVENTS = "codex_gateway.events", Counter, "{event}", [],
        "Events of core, as they entered the logs.";
    TURNS_STARTED = "codex_gateway.turns.started", Counter, "{turn}", [PROVIDER],
        "Turns that began.";
    TURNS_ENDED = "codex_gateway.turns.ended", Counter, "{turn}", [PROVIDER, STATUS],
        "Turns that ended: `completed`, `failed`, `cancelled` or `timed_out`.";
    TURNS_RUNNING = "codex_gateway.turns.running", Gauge, "{turn}", [],
        "Turns under way.";
    TURN_DURATION = "codex_gateway.turn.duration", Histogram, "s", [PROVIDER, STATUS],
        "From the prompt to the last event of its turn.";
    TURN_FIRST_EVENT = "codex_gateway.turn.time_to_first_event", Histogram, "s", [PROVIDER],
        "From the prompt to the turn's first event.";
    TURN_FIRST_TOKEN = "codex_gateway.turn.time_to_first_token", Histogram, "s", [PROVIDER],
        "From the prompt to the first words or thoughts of the model.";
    TOKENS = "gen_ai.client.token.usage", Histogram, "{token}",
        [OPERATION, PROVIDER, MODEL, TOKEN_TYPE],
        "Tokens of a model call: `input` (cached ones included) and `output` (thoughts included).";
    MODEL_DURATION = "gen_ai.client.operation.duration", Histogram, "s",
        [OPERATION, PROVIDER, MODEL, ERROR_TYPE],
        "A model call, its retries and its wait for a place included.";
    MODEL_FIRST_TOKEN = "codex_gateway.model.time_to_first_token", Histogram, "s",
        [PROVIDER, MODEL],
        "From a model call to its first words or thoughts.";
    MODEL_QUEUED = "codex_gateway.model.queued", Histogram, "s", [PROVIDER],
        "How long a model call waited for a place among its provider's.";
    MODEL_RETRIES = "codex_gateway.model.retries", Counter, "{attempt}", [PROVIDER],
        "Times that a model call was sent again.";
    TOOL_CALLS = "codex_gateway.tool.calls", Counter, "{call}", [TOOL, OUTCOME],
        "Commands, patches, and calls of tools that ended: `ok` or `error`.";
    TOOL_DURATION = "codex_gateway.tool.duration", Histogram, "s", [TOOL],
        "A command, a patch, a call of a tool.";
    APPROVALS_PENDING = "codex_gateway.approvals.pending", Gauge, "{approval}", [],
        "Questions of agents that nobody has answered yet.";
    APPROVAL_WAIT = "codex_gateway.approval.duration", Histogram, "s", [DECISION],
        "From a question to its answer.";
    CONVERSATIONS = "codex_gateway.conversations", Gauge, "{conversation}", [],
        "Live conversations.";
    EVENT_LOG = "codex_gateway.event_log.size", Gauge, "By", [],
        "What the events weigh that are kept for readers to come.";
    TASKS = "codex_gateway.tasks", Gauge, "{task}", [],
        "Tasks of the asynchronous runtime.";
    EXPORT_FAILURES = "codex_gateway.telemetry.export_failures", Counter, "{export}", [SIGNAL],
        "Exports that the collector did not take.";
    MEMORY = "process.memory.usage", Gauge, "By", [],
        "Resident memory of the process.";
    CPU = "process.cpu.time", Counter, "s", [CPU_MODE],
        "Processor time: `user` and `system`.";
    FILES = "process.unix.file_descriptor.count", Gauge, "{file_descriptor}", [],
        "Open file descriptors.";
    THREADS = "process.thread.count", Gauge, "{thread}", [],
        "Threads.";
    UPTIME = "process.uptime", Gauge, "s", [],
        "Since the process started.";
    BUILD = "codex_gateway.build.info", Gauge, "", [VERSION, ENGINE],
        "Always 1; the labels say what runs.";
}

/// `http.request.method`
pub const METHOD: &str = "http.request.method";
/// `http.route`: a template, or `_OTHER` where there is no such route.
pub const ROUTE: &str = "http.route";
/// `http.response.status_code`
pub const STATUS_CODE: &str = "http.response.status_code";
/// `error.type`: the code of the error, or of the provider's.
pub const ERROR_TYPE: &str = "error.type";
/// `gen_ai.operation.name`: `chat`.
pub const OPERATION: &str = "gen_ai.operation.name";
/// `gen_ai.provider.name`: the id of the provider in the configuration.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// `gen_ai.request.model`
pub const MODEL: &str = "gen_ai.request.model";
/// `gen_ai.token.type`: `input` or `output`.
pub const TOKEN_TYPE: &str = "gen_ai.token.type";
/// `gen_ai.tool.name`: on metrics, one of a few kinds; on spans, the tool's own name.
pub const TOOL: &str = "gen_ai.tool.name";
/// How a turn ended.
pub const STATUS: &str = "codex_gateway.turn.status";
/// How a tool call ended.
pub const OUTCOME: &str = "codex_gateway.tool.outcome";
/// What was decided.
pub const DECISION: &str = "codex_gateway.approval.decision";
/// `traces`, `metrics` or `logs`.
pub const SIGNAL: &str = "codex_gateway.telemetry.signal";
/// `user` or `system`.
pub const CPU_MODE: &str = "cpu.mode";
/// The gateway's version.
pub const VERSION: &str = "version";
/// What runs the agent: `codex-core`.
pub const ENGINE: &str = "engine";

/// Seconds of what answers at once: requests, queues, first tokens, tools; up to an agent's half hour.
pub const SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0, 600.0, 1200.0, 1800.0,
];
/// Tokens (OpenTelemetry's advice for `gen_ai.client.token.usage`).
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
/// Events that a reader is behind.
pub const LAG_BUCKETS: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 10_000.0];

/// The attributes of spans that are not labels of metrics too.
pub mod attribute {
    /// Codex's thread id.
    pub const CONVERSATION: &str = "gen_ai.conversation.id";
    /// The same, for viewers that group traces into sessions.
    pub const SESSION: &str = "session.id";
    /// `codex`.
    pub const AGENT: &str = "gen_ai.agent.name";
    /// The turn.
    pub const TURN: &str = "codex_gateway.turn.id";
    /// The name of the caller's key.
    pub const CALLER: &str = "codex_gateway.caller";
    /// Tokens in.
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    /// Of these, read from the provider's cache.
    pub const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    /// Tokens out.
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    /// Of these, thought.
    pub const REASONING_TOKENS: &str = "codex_gateway.usage.reasoning_tokens";
    /// Seconds to the first token.
    pub const FIRST_TOKEN: &str = "codex_gateway.time_to_first_token";
    /// Seconds to the first event.
    pub const FIRST_EVENT: &str = "codex_gateway.time_to_first_event";
    /// How often a model call was sent.
    pub const ATTEMPTS: &str = "codex_gateway.model.attempts";
    /// Seconds that a model call waited for a place.
    pub const QUEUED: &str = "codex_gateway.model.queued";
    /// The id of a tool call.
    pub const CALL: &str = "gen_ai.tool.call.id";
    /// `function` for commands and patches, `extension` for tools of servers.
    pub const TOOL_TYPE: &str = "gen_ai.tool.type";
    /// The tool server.
    pub const SERVER: &str = "mcp.server.name";
    /// What a command ended with.
    pub const EXIT_CODE: &str = "process.exit.code";
    /// How many files a patch touches.
    pub const FILES: &str = "codex_gateway.patch.files";
    /// How many events a stream carried.
    pub const EVENTS: &str = "codex_gateway.stream.events";
    /// `jsonrpc`.
    pub const RPC_SYSTEM: &str = "rpc.system";
    /// The method.
    pub const RPC_METHOD: &str = "rpc.method";
    /// What a prompt says; only with `capture_content`.
    pub const INPUT: &str = "gen_ai.input.messages";
    /// What the agent says; only with `capture_content`.
    pub const OUTPUT: &str = "gen_ai.output.messages";
    /// What a tool is called with; only with `capture_content`.
    pub const ARGUMENTS: &str = "gen_ai.tool.call.arguments";
    /// What a tool answers; only with `capture_content`.
    pub const RESULT: &str = "gen_ai.tool.call.result";
    /// The sort of span, for viewers that follow OpenInference: `AGENT`, `LLM`, `TOOL`.
    pub const OPENINFERENCE: &str = "openinference.span.kind";
}
