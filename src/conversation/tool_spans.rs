//! The spans of a turn's tool calls (`execute_tool`, OpenTelemetry's semantic conventions for
//! generative AI) and their metrics.

use std::collections::HashMap;

use codex_gateway_engine::protocol::EventMsg;
use codex_gateway_engine::protocol::ResponseItem;
use opentelemetry::KeyValue;
use opentelemetry::trace::Status as SpanStatus;
use tokio::time::Instant;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry::captures_content;
use crate::telemetry::metrics::metrics;
use crate::telemetry::names;
use crate::telemetry::names::attribute;
use crate::telemetry::trace;

/// The largest number of open tool calls. A model that announces more is not believed.
const MAX_TOOLS: usize = 256;

/// The open tool calls of a turn.
#[derive(Debug)]
pub(super) struct ToolSpans {
    /// The turn's span.
    parent: Span,
    /// By the id of the call.
    open: HashMap<String, ToolSpan>,
}

#[derive(Debug)]
struct ToolSpan {
    span: Span,
    begun: Instant,
    kind: ToolKind,
}

/// The kind of a tool, as a metric label. Servers and clients name their tools freely.
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

    /// `gen_ai.tool.type`
    fn tool_type(self) -> &'static str {
        match self {
            Self::Server => "extension",
            Self::Command | Self::Patch | Self::WebSearch | Self::Image | Self::Other => "function",
        }
    }
}

impl ToolSpans {
    pub(super) fn new(parent: Span) -> Self {
        Self { parent, open: HashMap::new() }
    }

    /// Observes one of the turn's events.
    pub(super) fn observe(&mut self, msg: &EventMsg) {
        match msg {
            EventMsg::RawResponseItem(raw) => self.observe_item(&raw.item),
            EventMsg::ExecCommandBegin(begin) => {
                let tool = self.begin(&begin.call_id, "exec_command", ToolKind::Command);
                if captures_content() {
                    tool.span.set_attribute(attribute::ARGUMENTS, begin.command.join(" "));
                }
            }
            EventMsg::ExecCommandEnd(end) => {
                if let Some(tool) = self.open.get(&end.call_id) {
                    tool.span.set_attribute(attribute::EXIT_CODE, i64::from(end.exit_code));
                    if captures_content() {
                        tool.span.set_attribute(attribute::RESULT, end.aggregated_output.clone());
                    }
                }
                self.end(&end.call_id, end.exit_code == 0);
            }
            EventMsg::PatchApplyBegin(begin) => {
                let tool = self.begin(&begin.call_id, "apply_patch", ToolKind::Patch);
                tool.span.set_attribute(attribute::FILES, begin.changes.len() as i64);
            }
            EventMsg::PatchApplyEnd(end) => self.end(&end.call_id, end.success),
            EventMsg::McpToolCallBegin(begin) => {
                let invocation = &begin.invocation;
                let tool = self.begin(&begin.call_id, &invocation.tool, ToolKind::Server);
                tool.span.set_attribute(attribute::SERVER, invocation.server.clone());
                if let Some(arguments) =
                    invocation.arguments.as_ref().filter(|_| captures_content())
                {
                    tool.span.set_attribute(attribute::ARGUMENTS, arguments.to_string());
                }
            }
            EventMsg::McpToolCallEnd(end) => {
                let ok = end.result.as_ref().is_ok_and(|result| result.is_error != Some(true));
                self.end(&end.call_id, ok);
            }
            EventMsg::WebSearchBegin(begin) => {
                self.begin(&begin.call_id, "web_search", ToolKind::WebSearch);
            }
            EventMsg::WebSearchEnd(end) => self.end(&end.call_id, true),
            EventMsg::ImageGenerationBegin(begin) => {
                self.begin(&begin.call_id, "image_generation", ToolKind::Image);
            }
            EventMsg::ImageGenerationEnd(end) => self.end(&end.call_id, true),
            // Core's events grow with upstream. No other belongs to a tool.
            _ => {}
        }
    }

    /// Observes one of the model's items, which cover the calls of tools that have no events of
    /// their own.
    fn observe_item(&mut self, item: &ResponseItem) {
        match item {
            ResponseItem::FunctionCall { name, namespace, call_id, .. }
            | ResponseItem::CustomToolCall { name, namespace, call_id, .. } => {
                let kind = ToolKind::of(name, namespace.as_deref());
                // The tool for commands has several names, one per family of models.
                let name = if kind == ToolKind::Command { kind.as_str() } else { name };
                self.begin(call_id, name, kind);
            }
            ResponseItem::FunctionCallOutput { call_id, output, .. }
            | ResponseItem::CustomToolCallOutput { call_id, output, .. } => {
                self.end(call_id, output.success != Some(false));
            }
            // Not a tool call.
            _ => {}
        }
    }

    /// The span of a tool call, begun where it is new.
    fn begin(&mut self, call_id: &str, name: &str, kind: ToolKind) -> &ToolSpan {
        if self.open.len() >= MAX_TOOLS && !self.open.contains_key(call_id) {
            self.open.clear();
        }
        let parent = &self.parent;
        self.open.entry(call_id.to_owned()).or_insert_with(|| {
            let span = tracing::info_span!(
                parent: parent,
                "tool",
                otel.name = format!("execute_tool {name}"),
                otel.kind = "internal",
                gen_ai.tool.name = name,
            );
            for (key, value) in [
                (names::OPERATION, "execute_tool"),
                (attribute::CALL, call_id),
                (attribute::TOOL_TYPE, kind.tool_type()),
                (attribute::OPENINFERENCE, "TOOL"),
            ] {
                span.set_attribute(key, value.to_owned());
            }
            // Starts the span now, instead of when its context is first used.
            let _ = span.context();
            ToolSpan { span, begun: Instant::now(), kind }
        })
    }

    fn end(&mut self, call_id: &str, ok: bool) {
        let Some(ToolSpan { span, begun, kind }) = self.open.remove(call_id) else { return };
        if !ok {
            span.set_attribute(names::ERROR_TYPE, "tool_error");
            span.set_status(SpanStatus::error("the tool failed"));
        }
        let tool = KeyValue::new(names::TOOL, kind.as_str());
        metrics().tool_duration.record(begun.elapsed().as_secs_f64(), std::slice::from_ref(&tool));
        trace::end(&span);
        let outcome = KeyValue::new(names::OUTCOME, if ok { "ok" } else { "error" });
        metrics().tool_calls.add(1, &[tool, outcome]);
    }

    /// Ends the calls that have no end, as failed.
    pub(super) fn end_all(&mut self) {
        let calls: Vec<String> = self.open.keys().cloned().collect();
        for call_id in calls {
            self.end(&call_id, false);
        }
    }
}
