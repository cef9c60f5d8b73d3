//! The task view of a turn: the SSE events of the gateway's predecessors, for their clients.
//!
//! `task_started`, then `task_progress`, `stdout_line` and `stderr_line` as they occur, then
//! `task_result` and `task_completed`; `error` where the turn fails.

#![expect(clippy::indexing_slicing, reason = "serde_json returns null for a missing member")]

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytes::BytesMut;
use codex_gateway_engine::sandbox::Report as Sandbox;
use serde_json::Value;
use serde_json::json;

use super::reader::Item;
use super::sse;
use crate::conversation::Turn;
use crate::conversation::id::Seq;
use crate::conversation::log::Entry;
use crate::conversation::report::ErrorSource;
use crate::conversation::report::TurnReport;
use crate::conversation::report::TurnStatus;
use crate::web::sse::write;

/// The length at which a line without an end is cut.
const LINE_LIMIT: usize = 64 * 1024;

/// Frames the events of one turn as SSE.
#[derive(Debug)]
pub struct TaskView {
    session_id: String,
    conversation_id: String,
    sandbox: Sandbox,
    /// Unfinished lines of standard output and standard error, by command.
    unfinished: HashMap<String, [Vec<u8>; 2]>,
}

const STDOUT: usize = 0;
const STDERR: usize = 1;

impl TaskView {
    /// A view of a turn.
    pub fn new(turn: &Turn, sandbox: &Sandbox) -> Self {
        Self {
            session_id: turn.conversation.session_id().to_string(),
            conversation_id: turn.conversation.id().to_string(),
            sandbox: sandbox.clone(),
            unfinished: HashMap::new(),
        }
    }

    /// The first event.
    pub fn started(&self, after: Seq) -> Bytes {
        let mut out = BytesMut::new();
        let data = json!({
            "session_id": self.session_id,
            "conversation_id": self.conversation_id,
            "status": "initializing",
            "sandbox": self.sandbox.mechanism,
            "tools": self.sandbox.tools,
        });
        put(&mut out, after, "task_started", &data);
        out.freeze()
    }

    /// The frames of an item; empty if it has none in this view.
    pub fn frame(&mut self, item: Item) -> Bytes {
        let mut out = BytesMut::new();
        match item {
            Item::Events(entries) => {
                for entry in &entries {
                    self.event(&mut out, entry);
                }
            }
            Item::Notice(notice) => {
                let params: Value = serde_json::from_str(&notice.line()).unwrap_or_default();
                let data = json!({ "method": "task/progress", "params": params["msg"] });
                put(&mut out, notice.seq, "task_progress", &data);
            }
            Item::Heartbeat => return Bytes::from_static(sse::HEARTBEAT),
        }
        out.freeze()
    }

    fn event(&mut self, out: &mut BytesMut, entry: &Entry) {
        match entry.kind() {
            "exec_command_output_delta" => {
                let Ok(msg) = serde_json::from_slice::<Value>(entry.msg()) else { return };
                let call = msg["call_id"].as_str().unwrap_or_default();
                let stream = if msg["stream"] == "stderr" { STDERR } else { STDOUT };
                let chunk = STANDARD.decode(msg["chunk"].as_str().unwrap_or_default());
                self.output(out, entry.seq, call, stream, &chunk.unwrap_or_default());
            }
            "exec_command_end" => {
                let Ok(msg) = serde_json::from_slice::<Value>(entry.msg()) else { return };
                let call = msg["call_id"].as_str().unwrap_or_default();
                if let Some(unfinished) = self.unfinished.remove(call) {
                    for (stream, text) in
                        unfinished.iter().enumerate().filter(|(_, text)| !text.is_empty())
                    {
                        line(out, entry.seq, stream, text);
                    }
                } else {
                    // The command streamed nothing, so this event has all of its output.
                    for (stream, member) in [(STDOUT, "stdout"), (STDERR, "stderr")] {
                        for text in msg[member].as_str().unwrap_or_default().lines() {
                            line(out, entry.seq, stream, text.as_bytes());
                        }
                    }
                }
                progress(out, entry);
            }
            kind if is_progress(kind) => progress(out, entry),
            _ => {}
        }
    }

    fn output(&mut self, out: &mut BytesMut, seq: Seq, call: &str, stream: usize, chunk: &[u8]) {
        let buffers = self.unfinished.entry(call.to_owned()).or_default();
        let Some(buffer) = buffers.get_mut(stream) else { return };
        // What is kept has no line feed: only the chunk is searched.
        let Some(last) = chunk.iter().rposition(|byte| *byte == b'\n') else {
            buffer.extend_from_slice(chunk);
            if buffer.len() > LINE_LIMIT {
                line(out, seq, stream, &std::mem::take(buffer));
            }
            return;
        };
        let (whole, rest) = chunk.split_at(last);
        buffer.extend_from_slice(whole);
        for text in buffer.split(|byte| *byte == b'\n') {
            line(out, seq, stream, text);
        }
        buffer.clear();
        buffer.extend_from_slice(rest.strip_prefix(b"\n").unwrap_or(rest));
        if buffer.len() > LINE_LIMIT {
            line(out, seq, stream, &std::mem::take(buffer));
        }
    }

    /// The last events.
    pub fn ended(&self, seq: Seq, report: &Arc<TurnReport>) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(error) = &report.error {
            let code =
                if error.source == ErrorSource::Model { "model_error" } else { "engine_error" };
            let data = json!({ "code": code, "message": error.message, "source": error.source });
            put(&mut out, seq, "error", &data);
        }
        let result = json!({
            "success": report.status == TurnStatus::Completed,
            "summary": report.message,
            "files_created": report.created(),
            "files_modified": report.modified(),
            "files_deleted": report.deleted(),
            "steps_completed": report.steps,
            "usage": report.usage,
            "sandbox": self.sandbox.mechanism,
            "tools": self.sandbox.tools,
            "next_steps": self.sandbox.fix.iter().collect::<Vec<_>>(),
        });
        put(&mut out, seq, "task_result", &result);
        let completed = json!({
            "session_id": self.session_id,
            "conversation_id": self.conversation_id,
            "exit_code": report.status.exit_code(),
            "execution_time_ms": report.duration_ms,
            "final_result": report.message,
            "files_created": report.created(),
            "status": report.status,
        });
        put(&mut out, seq, "task_completed", &completed);
        out.freeze()
    }
}

/// Whether an event is of use to a progress bar: items, plans, messages. `/exec` has all events.
fn is_progress(kind: &str) -> bool {
    kind.starts_with("item_")
        || kind.ends_with("_begin")
        || kind.ends_with("_end")
        || kind.ends_with("_delta")
        || matches!(
            kind,
            "plan_update"
                | "agent_message"
                | "agent_reasoning"
                | "turn_diff"
                | "warning"
                | "stream_error"
        )
}

fn progress(out: &mut BytesMut, entry: &Entry) {
    let mut data = Vec::with_capacity(entry.msg().len() + 48);
    data.extend_from_slice(br#"{"method":"task/progress","params":"#);
    data.extend_from_slice(entry.msg());
    data.push(b'}');
    write(out, Some(entry.seq), "task_progress", &data);
}

fn line(out: &mut BytesMut, seq: Seq, stream: usize, text: &[u8]) {
    let event = if stream == STDERR { "stderr_line" } else { "stdout_line" };
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    put(out, seq, event, &json!({ "line": String::from_utf8_lossy(text) }));
}

fn put(out: &mut BytesMut, seq: Seq, event: &str, data: &Value) {
    write(out, Some(seq), event, data.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_whole_lines() {
        let mut view = TaskView {
            session_id: "s".into(),
            conversation_id: "c".into(),
            sandbox: Sandbox {
                mechanism: codex_gateway_engine::sandbox::Mechanism::None,
                tools: codex_gateway_engine::sandbox::Tools::Off,
                detail: String::new(),
                fix: None,
            },
            unfinished: HashMap::new(),
        };
        let mut out = BytesMut::new();
        view.output(&mut out, 1, "call", STDOUT, b"one\r\ntw");
        view.output(&mut out, 2, "call", STDERR, b"oops\n");
        view.output(&mut out, 3, "call", STDOUT, b"o\nthree");
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "id: 1\nevent: stdout_line\ndata: {\"line\":\"one\"}\n\n\
             id: 2\nevent: stderr_line\ndata: {\"line\":\"oops\"}\n\n\
             id: 3\nevent: stdout_line\ndata: {\"line\":\"two\"}\n\n"
        );
        assert_eq!(view.unfinished["call"][STDOUT], b"three");
    }
}
