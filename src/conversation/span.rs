//! A turn as it is seen from outside: its span (`invoke_agent`, OpenTelemetry's semantic conventions for
//! generative AI), below that a span per tool call (`execute_tool`), and its metrics. Fed with core's
//! events as they pass.

use std::collections::HashMap;

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

use crate::conversation::report::Report;
use crate::conversation::report::Status;
use crate::telemetry::captures_content;
use crate::telemetry::metrics::metrics;
use crate::telemetry::names;
use crate::telemetry::names::attribute;
use crate::telemetry::trace;
use crate::telemetry::trace::CauseAlive;
use crate::telemetry::trace::TraceContext;

/// Tool calls that are followed at a time; a model that announces more is not believed.
const MAX_TOOLS: usize = 256;

/// A turn under way.
#[derive(Debug)]
pub(crate) struct TurnSpan {
    span: Span,
    /// What caused it.
    cause: Context,
    begun: Instant,
    provider: KeyValue,
    seen_event: bool,
    seen_token: bool,
    tools: HashMap<String, ToolSpan>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) conversation: &'a str,
    pub(crate) turn: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
    /// Left out unless content is captured.
    pub(crate) prompt: Option<&'a str>,
}

#[derive(Debug)]
struct ToolSpan {
    span: Span,
    begun: Instant,
    kind: ToolKind,
}

/// A tool, as a label: servers and clients may name theirs as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToolKind {
    Command,
    Patch,
    Server,
    WebSearch,
    Image,
    Other,
}

impl ToolKind {
    fn of(name: &str, namespace: Option<&str>) -> Self {
        match name {
            _ if namespace.is_some() || name.starts_with("mcp__") => Self::Server,
            "shell" | "shell_command" | "exec_command" | "local_shell" | "write_stdin" => {
                Self::Command
            }
            "apply_patch" => Self::Patch,
            "web_search" => Self::WebSearch,
            "view_image" | "image_generation" => Self::Image,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Command => "exec_command",
            Self::Patch => "apply_patch",
            Self::Server => "mcp",
            Self::WebSearch => "web_search",
            Self::Image => "image",
            Self::Other => names::OTHER,
        }
    }
}

impl TurnSpan {
    /// A turn begins, caused by whatever is current.
    pub(crate) fn begin(facts: Facts<'_>) -> Self {
        let Facts { conversation, turn, provider, model, prompt } = facts;
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
            span,
            cause,
            begun: Instant::now(),
            provider,
            seen_event: false,
            seen_token: false,
            tools: HashMap::new(),
        }
    }

    /// The span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// What its model calls are traced below.
    pub(crate) fn context(&self) -> Context {
        self.span.context()
    }

    /// What core's own spans are traced below.
    pub(crate) fn for_core(&self) -> Option<TraceContext> {
        trace::for_core(&self.span)
    }

    /// One of the turn's events.
    pub(crate) fn see(&mut self, msg: &EventMsg) {
        if !self.seen_event {
            self.seen_event = true;
            let seconds = self.begun.elapsed().as_secs_f64();
            self.span.set_attribute(attribute::FIRST_EVENT, seconds);
            metrics().turn_first_event.record(seconds, std::slice::from_ref(&self.provider));
        }
        match msg {
            EventMsg::AgentMessageContentDelta(_)
            | EventMsg::ReasoningContentDelta(_)
            | EventMsg::ReasoningRawContentDelta(_)
            | EventMsg::AgentMessage(_)
            | EventMsg::AgentReasoning(_) => self.first_token(),
            EventMsg::RawResponseItem(raw) => self.see_item(&raw.item),
            EventMsg::ExecCommandBegin(begin) => {
                let tool = self.tool(&begin.call_id, "exec_command", ToolKind::Command);
                if captures_content() {
                    tool.span.set_attribute(attribute::ARGUMENTS, begin.command.join(" "));
                }
            }
            EventMsg::ExecCommandEnd(end) => {
                if let Some(tool) = self.tools.get(&end.call_id) {
                    tool.span.set_attribute(attribute::EXIT_CODE, i64::from(end.exit_code));
                    if captures_content() {
                        tool.span.set_attribute(attribute::RESULT, end.aggregated_output.clone());
                    }
                }
                self.tool_ended(&end.call_id, end.exit_code == 0);
            }
            EventMsg::PatchApplyBegin(begin) => {
                let tool = self.tool(&begin.call_id, "apply_patch", ToolKind::Patch);
                tool.span.set_attribute(attribute::FILES, begin.changes.len() as i64);
            }
            EventMsg::PatchApplyEnd(end) => self.tool_ended(&end.call_id, end.success),
            EventMsg::McpToolCallBegin(begin) => {
                let invocation = &begin.invocation;
                let tool = self.tool(&begin.call_id, &invocation.tool, ToolKind::Server);
                tool.span.set_attribute(attribute::SERVER, invocation.server.clone());
                if let Some(arguments) =
                    invocation.arguments.as_ref().filter(|_| captures_content())
                {
                    tool.span.set_attribute(attribute::ARGUMENTS, arguments.to_string());
                }
            }
            EventMsg::McpToolCallEnd(end) => {
                let well = end.result.as_ref().is_ok_and(|result| result.is_error != Some(true));
                self.tool_ended(&end.call_id, well);
            }
            EventMsg::WebSearchBegin(begin) => {
                self.tool(&begin.call_id, "web_search", ToolKind::WebSearch);
            }
            EventMsg::WebSearchEnd(end) => self.tool_ended(&end.call_id, true),
            EventMsg::ImageGenerationBegin(begin) => {
                self.tool(&begin.call_id, "image_generation", ToolKind::Image);
            }
            EventMsg::ImageGenerationEnd(end) => self.tool_ended(&end.call_id, true),
            // The rest of core's events, present and future, is of no tool.
            _ => {}
        }
    }

    /// What the model says, item by item: calls of tools that have no events of their own, too.
    fn see_item(&mut self, item: &ResponseItem) {
        match item {
            ResponseItem::FunctionCall { name, namespace, call_id, .. }
            | ResponseItem::CustomToolCall { name, namespace, call_id, .. } => {
                self.first_token();
                let kind = ToolKind::of(name, namespace.as_deref());
                // Commands have several names, one per family of models.
                let name = if kind == ToolKind::Command { kind.as_str() } else { name };
                self.tool(call_id, name, kind);
            }
            ResponseItem::FunctionCallOutput { call_id, output, .. }
            | ResponseItem::CustomToolCallOutput { call_id, output, .. } => {
                self.tool_ended(call_id, output.success != Some(false));
            }
            // No call of a tool.
            _ => {}
        }
    }

    fn first_token(&mut self) {
        if !std::mem::replace(&mut self.seen_token, true) {
            let seconds = self.begun.elapsed().as_secs_f64();
            self.span.set_attribute(attribute::FIRST_TOKEN, seconds);
            metrics().turn_first_token.record(seconds, std::slice::from_ref(&self.provider));
        }
    }

    /// The span of a tool call, new where it is not known yet.
    fn tool(&mut self, call_id: &str, name: &str, kind: ToolKind) -> &ToolSpan {
        if self.tools.len() >= MAX_TOOLS && !self.tools.contains_key(call_id) {
            self.tools.clear();
        }
        let parent = &self.span;
        self.tools.entry(call_id.to_owned()).or_insert_with(|| {
            let span = tracing::info_span!(
                parent: parent,
                "tool",
                otel.name = format!("execute_tool {name}"),
                otel.kind = "internal",
                gen_ai.tool.name = name,
            );
            let tool_type = match kind {
                ToolKind::Server => "extension",
                ToolKind::Command
                | ToolKind::Patch
                | ToolKind::WebSearch
                | ToolKind::Image
                | ToolKind::Other => "function",
            };
            for (key, value) in [
                (names::OPERATION, "execute_tool"),
                (attribute::CALL, call_id),
                (attribute::TOOL_TYPE, tool_type),
                (attribute::OPENINFERENCE, "TOOL"),
            ] {
                span.set_attribute(key, value.to_owned());
            }
            // Started now, not when something first asks for it.
            let _ = span.context();
            ToolSpan { span, begun: Instant::now(), kind }
        })
    }

    fn tool_ended(&mut self, call_id: &str, well: bool) {
        let Some(ToolSpan { span, begun, kind }) = self.tools.remove(call_id) else { return };
        if !well {
            span.set_attribute(names::ERROR_TYPE, "tool_error");
            span.set_status(SpanStatus::error("the tool failed"));
        }
        let tool = KeyValue::new(names::TOOL, kind.as_str());
        metrics().tool_duration.record(begun.elapsed().as_secs_f64(), std::slice::from_ref(&tool));
        trace::end(&span);
        let outcome = KeyValue::new(names::OUTCOME, if well { "ok" } else { "error" });
        metrics().tool_calls.add(1, &[tool, outcome]);
    }

    /// The turn has ended.
    pub(crate) fn end(mut self, report: &Report) {
        let calls: Vec<String> = self.tools.keys().cloned().collect();
        for call_id in calls {
            self.tool_ended(&call_id, false);
        }
        let Self { span, cause, begun, provider, .. } = self;
        span.set_attribute(names::STATUS, report.status.as_str());
        if let Some(usage) = &report.usage {
            set_usage(&span, usage);
        }
        match report.status {
            Status::Completed => {}
            // Somebody wanted it to end.
            Status::Cancelled => span.set_attribute(names::ERROR_TYPE, report.status.as_str()),
            Status::Failed | Status::TimedOut => {
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

/// A message as the semantic conventions write it.
fn message(role: &str, text: &str) -> String {
    serde_json::json!([{ "role": role, "parts": [{ "type": "text", "content": text }] }])
        .to_string()
}
