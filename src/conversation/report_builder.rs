//! [`ReportBuilder`]: folds a turn's events into its report.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::protocol::EventMsg;
use codex_gateway_engine::protocol::ExecOutputStream;
use codex_gateway_engine::protocol::FileChange;
use codex_gateway_engine::protocol::TokenUsage;
use serde_json::Value;

use super::id::Seq;
use super::id::TurnId;
use super::report::Change;
use super::report::ErrorSource;
use super::report::OUTPUT_LIMIT;
use super::report::Output;
use super::report::TurnError;
use super::report::TurnReport;
use super::report::TurnStatus;

/// Bytes of a created file that a report keeps.
const CONTENT_LIMIT: usize = 64 * 1024;

/// A report that is being built.
#[derive(Debug)]
pub(super) struct ReportBuilder {
    message: String,
    partial: String,
    error: Option<TurnError>,
    files: BTreeMap<PathBuf, Change>,
    stdout: Output,
    stderr: Output,
    /// Commands whose output was streamed. Their last event repeats it.
    streamed: HashSet<String>,
    steps: u64,
    review: Option<Value>,
    usage: Option<TokenUsage>,
    /// Tokens of the conversation before the turn.
    before: TokenUsage,
}

impl ReportBuilder {
    pub(super) fn new(before: Option<TokenUsage>) -> Self {
        Self {
            message: String::new(),
            partial: String::new(),
            error: None,
            files: BTreeMap::new(),
            stdout: Output::default(),
            stderr: Output::default(),
            streamed: HashSet::new(),
            steps: 0,
            review: None,
            usage: None,
            before: before.unwrap_or_default(),
        }
    }

    /// Adds one event.
    // Long: one arm per kind of event.
    pub(super) fn fold(&mut self, msg: &EventMsg, cwd: &Path) {
        match msg {
            EventMsg::AgentMessageContentDelta(delta) if self.partial.len() < OUTPUT_LIMIT => {
                self.partial.push_str(&delta.delta);
            }
            EventMsg::AgentMessage(message) => {
                self.message.clone_from(&message.message);
                self.partial.clear();
            }
            EventMsg::ExecCommandOutputDelta(delta) => {
                self.streamed.insert(delta.call_id.clone());
                match delta.stream {
                    ExecOutputStream::Stdout => self.stdout.push(&delta.chunk),
                    ExecOutputStream::Stderr => self.stderr.push(&delta.chunk),
                }
            }
            EventMsg::ExecCommandEnd(end) => {
                if !self.streamed.remove(&end.call_id) {
                    self.stdout.push(end.stdout.as_bytes());
                    self.stderr.push(end.stderr.as_bytes());
                }
                self.steps += 1;
            }
            EventMsg::PatchApplyEnd(end) => {
                self.steps += 1;
                if end.success {
                    for (path, change) in &end.changes {
                        self.change(path, change, cwd);
                    }
                }
            }
            EventMsg::McpToolCallEnd(_)
            | EventMsg::WebSearchEnd(_)
            | EventMsg::ImageGenerationEnd(_) => self.steps += 1,
            EventMsg::ExitedReviewMode(exited) => {
                self.review = serde_json::to_value(&exited.review_output).ok();
            }
            EventMsg::TokenCount(count) => {
                if let Some(info) = &count.info {
                    // Totals only: core repeats and estimates the usage of the last call.
                    self.usage = Some(difference(&info.total_token_usage, &self.before));
                }
            }
            EventMsg::Error(error)
                if error
                    .codex_error_info
                    .as_ref()
                    .is_none_or(|info| info.affects_turn_status()) =>
            {
                self.fail(ErrorSource::Model, &error.message);
            }
            EventMsg::TurnComplete(complete) => {
                if let Some(message) = &complete.last_agent_message {
                    self.message.clone_from(message);
                }
                if let Some(error) = &complete.error {
                    self.fail(ErrorSource::Model, &error.message);
                }
            }
            // Core's events grow with upstream. No other adds to a report.
            _ => {}
        }
    }

    fn change(&mut self, path: &Path, change: &FileChange, cwd: &Path) {
        let path = path.strip_prefix(cwd).unwrap_or(path);
        let before = self.files.get(path);
        let after = match (change, before) {
            (FileChange::Add { content }, _) => {
                let end = content.floor_char_boundary(CONTENT_LIMIT);
                Change::Created {
                    content: content.get(..end).unwrap_or_default().to_owned(),
                    truncated: end < content.len(),
                }
            }
            (FileChange::Delete { .. }, Some(Change::Created { .. })) => {
                self.files.remove(path);
                return;
            }
            (FileChange::Delete { .. }, _) => Change::Deleted,
            (FileChange::Update { move_path: Some(target), .. }, _) => {
                let target = target.clone();
                let target = target.strip_prefix(cwd).unwrap_or(&target).to_owned();
                let moved = match self.files.remove(path) {
                    Some(created @ Change::Created { .. }) => created,
                    Some(Change::Modified | Change::Deleted) | None => {
                        self.files.insert(path.to_owned(), Change::Deleted);
                        Change::Modified
                    }
                };
                self.files.insert(target, moved);
                return;
            }
            (FileChange::Update { .. }, Some(Change::Created { .. })) => return,
            (FileChange::Update { .. }, _) => Change::Modified,
        };
        self.files.insert(path.to_owned(), after);
    }

    pub(super) fn fail(&mut self, source: ErrorSource, message: &str) {
        self.error = Some(TurnError { source, message: message.to_owned() });
    }

    pub(super) fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn finish(
        self,
        turn_id: TurnId,
        status: TurnStatus,
        duration_ms: u64,
        end_seq: Seq,
    ) -> TurnReport {
        TurnReport {
            turn_id,
            status,
            message: if self.message.is_empty() { self.partial } else { self.message },
            error: self.error.filter(|_| status != TurnStatus::Completed),
            files: self.files,
            stdout: self.stdout,
            stderr: self.stderr,
            steps: self.steps,
            review: self.review,
            usage: self.usage,
            duration_ms,
            end_seq,
        }
    }
}

fn difference(total: &TokenUsage, before: &TokenUsage) -> TokenUsage {
    let less = |total: i64, before: i64| total.saturating_sub(before).max(0);
    TokenUsage {
        input_tokens: less(total.input_tokens, before.input_tokens),
        cached_input_tokens: less(total.cached_input_tokens, before.cached_input_tokens),
        cache_write_input_tokens: less(
            total.cache_write_input_tokens,
            before.cache_write_input_tokens,
        ),
        output_tokens: less(total.output_tokens, before.output_tokens),
        reasoning_output_tokens: less(
            total.reasoning_output_tokens,
            before.reasoning_output_tokens,
        ),
        total_tokens: less(total.total_tokens, before.total_tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_created_and_changed_counts_as_created() {
        let mut report = ReportBuilder::new(None);
        let (cwd, path) = (Path::new("/w"), Path::new("a.py"));
        report.change(path, &FileChange::Add { content: "x".into() }, cwd);
        let update = |move_path| FileChange::Update { unified_diff: String::new(), move_path };
        report.change(path, &update(None), cwd);
        assert!(matches!(report.files[path], Change::Created { .. }));
        report.change(path, &FileChange::Delete { content: "x".into() }, cwd);
        assert!(report.files.is_empty());
    }
}
