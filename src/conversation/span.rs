//! The trace of a turn: its span (`invoke_agent`, OpenTelemetry's semantic conventions for
//! generative AI) and its metrics, fed with core's events as they pass. Tool calls have spans below
//! it (`tool_spans`).

use codex_gateway_engine::protocol::EventMsg;
use codex_gateway_engine::protocol::ResponseItem;
use codex_gateway_engine::protocol::TokenUsage;
use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::Status as SpanStatus;
use opentelemetry::trace::TraceContextExt;
use tokio::time::Instant;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::report::TurnReport;
use super::report::TurnStatus;
use super::tool_spans::ToolSpans;
use crate::telemetry::captures_content;
use crate::telemetry::metrics::metrics;
use crate::telemetry::names;
use crate::telemetry::names::attribute;
use crate::telemetry::trace;
use crate::telemetry::trace::CauseAlive;
use crate::telemetry::trace::TraceContext;

/// The span of a running turn.
#[derive(Debug)]
pub(super) struct TurnSpan {
    span: Span,
    /// The context of the request that started the turn.
    cause: Context,
    begun: Instant,
    provider: KeyValue,
    seen_event: bool,
    seen_token: bool,
    tools: ToolSpans,
}

/// The attributes of a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct TurnFacts<'a> {
    pub(super) conversation: &'a str,
    pub(super) turn: &'a str,
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
    /// Recorded only where content is captured.
    pub(super) prompt: Option<&'a str>,
}

impl TurnSpan {
    /// Begins a span below the current context.
    pub(super) fn begin(facts: TurnFacts<'_>) -> Self {
        let TurnFacts { conversation, turn, provider, model, prompt } = facts;
        let cause = Context::current();
        let span = tracing::info_span!(
            "turn",
            otel.name = "invoke_agent codex",
            otel.kind = "internal",
            gen_ai.conversation.id = conversation,
            codex_gateway.turn.id = turn,
        );
        for (key, value) in [
            (names::OPERATION, "invoke_agent"),
            (attribute::AGENT, "codex"),
            (attribute::SESSION, conversation),
            (names::PROVIDER, provider),
            (names::MODEL, model),
            (attribute::OPENINFERENCE, "AGENT"),
        ] {
            span.set_attribute(key, value.to_owned());
        }
        if let Some(prompt) = prompt.filter(|_| captures_content()) {
            span.set_attribute(attribute::INPUT, message("user", prompt));
        }
        let provider = KeyValue::new(names::PROVIDER, provider.to_owned());
        metrics().turns_started.add(1, std::slice::from_ref(&provider));
        Self {
            tools: ToolSpans::new(span.clone()),
            span,
            cause,
            begun: Instant::now(),
            provider,
            seen_event: false,
            seen_token: false,
        }
    }

    /// The span.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// The parent context of the turn's model calls.
    pub(super) fn context(&self) -> Context {
        self.span.context()
    }

    /// The parent of core's own spans.
    pub(super) fn for_core(&self) -> Option<TraceContext> {
        trace::for_core(&self.span)
    }

    /// Observes one of the turn's events.
    pub(super) fn observe(&mut self, msg: &EventMsg) {
        if !std::mem::replace(&mut self.seen_event, true) {
            let seconds = self.begun.elapsed().as_secs_f64();
            self.span.set_attribute(attribute::FIRST_EVENT, seconds);
            metrics().turn_first_event.record(seconds, std::slice::from_ref(&self.provider));
        }
        if !self.seen_token && is_token(msg) {
            self.seen_token = true;
            let seconds = self.begun.elapsed().as_secs_f64();
            self.span.set_attribute(attribute::FIRST_TOKEN, seconds);
            metrics().turn_first_token.record(seconds, std::slice::from_ref(&self.provider));
        }
        self.tools.observe(msg);
    }

    /// Ends the span, and those of tool calls without an end.
    pub(super) fn end(mut self, report: &TurnReport) {
        self.tools.end_all();
        let Self { span, cause, begun, provider, .. } = self;
        span.set_attribute(names::STATUS, report.status.as_str());
        if let Some(usage) = &report.usage {
            set_usage(&span, usage);
        }
        match report.status {
            TurnStatus::Completed => {}
            // Intended, so not an error of the span.
            TurnStatus::Cancelled => span.set_attribute(names::ERROR_TYPE, report.status.as_str()),
            TurnStatus::Failed | TurnStatus::TimedOut => {
                span.set_attribute(names::ERROR_TYPE, report.status.as_str());
                span.set_status(SpanStatus::error(report.status.as_str()));
            }
        }
        if captures_content() {
            span.set_attribute(attribute::OUTPUT, message("assistant", &report.message));
        }
        if CauseAlive::is_over(&cause) {
            span.add_link(cause.span().span_context().clone());
        }
        trace::end(&span);
        let labels = [provider, KeyValue::new(names::STATUS, report.status.as_str())];
        metrics().turn_duration.record(begun.elapsed().as_secs_f64(), &labels);
        metrics().turns_ended.add(1, &labels);
    }
}

/// Whether the model has begun to answer: with text, reasoning or a tool call.
fn is_token(msg: &EventMsg) -> bool {
    match msg {
        EventMsg::AgentMessageContentDelta(_)
        | EventMsg::ReasoningContentDelta(_)
        | EventMsg::ReasoningRawContentDelta(_)
        | EventMsg::AgentMessage(_)
        | EventMsg::AgentReasoning(_) => true,
        EventMsg::RawResponseItem(raw) => matches!(
            raw.item,
            ResponseItem::FunctionCall { .. } | ResponseItem::CustomToolCall { .. }
        ),
        // Core's events grow with upstream. No other comes from the model directly.
        _ => false,
    }
}

fn set_usage(span: &Span, usage: &TokenUsage) {
    for (key, tokens) in [
        (attribute::INPUT_TOKENS, usage.input_tokens),
        (attribute::CACHED_TOKENS, usage.cached_input_tokens),
        (attribute::OUTPUT_TOKENS, usage.output_tokens),
        (attribute::REASONING_TOKENS, usage.reasoning_output_tokens),
    ] {
        span.set_attribute(key, tokens);
    }
}

/// A message in the JSON of the semantic conventions.
fn message(role: &str, text: &str) -> String {
    serde_json::json!([{ "role": role, "parts": [{ "type": "text", "content": text }] }])
        .to_string()
}
