//! What a turn amounted to: folded from its events as they pass, so that nobody has to read them
//! again. Bounded: output and file contents are cut, and say so.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::protocol::EventMsg;
use codex_gateway_engine::protocol::ExecOutputStream;
use codex_gateway_engine::protocol::FileChange;
use codex_gateway_engine::protocol::TokenUsage;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::id::Seq;
use super::id::TurnId;

/// How much of each output stream a report keeps.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// How much of a created file a report keeps.
const CONTENT_LIMIT: usize = 64 * 1024;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The agent finished.
    Completed,
    /// The model, core or the gateway failed.
    Failed,
    /// The time limit interrupted it.
    TimedOut,
    /// Somebody cancelled it, or the process drained.
    Cancelled,
}

impl Status {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::TimedOut, Self::Cancelled];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// As a process would exit: 124 as `timeout(1)`, 130 as a shell says of SIGINT.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::TimedOut => 124,
            Self::Cancelled => 130,
        }
    }
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was created, with this content (perhaps cut).
    Created { content: String, truncated: bool },
    /// It was changed.
    Modified,
    /// It was removed.
    Deleted,
}

/// What a turn amounted to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The turn.
    pub turn_id: TurnId,
    /// How it ended.
    pub status: Status,
    /// The agent's last message, or what there was of it.
    pub message: String,
    /// What failed.
    pub error: Option<Failure>,
    /// What the files went through, by path relative to the conversation's folder.
    pub files: BTreeMap<PathBuf, Change>,
    /// What commands printed.
    pub stdout: Output,
    /// What commands printed to standard error.
    pub stderr: Output,
    /// Commands, patches and tool calls that ended.
    pub steps: u64,
    /// What a review found, as core says it.
    pub review: Option<Value>,
    /// Tokens of the turn.
    pub usage: Option<TokenUsage>,
    /// How long it took.
    pub duration_ms: u64,
    /// The number of its last event.
    pub end_seq: Seq,
}

/// A failure inside a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failure {
    /// `gateway` or `model`.
    pub source: &'static str,
    /// What happened.
    pub message: String,
}

impl Report {
    /// The paths of files that went through a change of this sort.
    pub fn paths(&self, sort: impl Fn(&Change) -> bool) -> Vec<String> {
        self.files
            .iter()
            .filter(|(_, change)| sort(change))
            .map(|(path, _)| path.display().to_string())
            .collect()
    }

    /// Created files.
    pub fn created(&self) -> Vec<String> {
        self.paths(|change| matches!(change, Change::Created { .. }))
    }

    /// Deleted files.
    pub fn deleted(&self) -> Vec<String> {
        self.paths(|change| matches!(change, Change::Deleted))
    }

    /// Modified files.
    pub fn modified(&self) -> Vec<String> {
        self.paths(|change| matches!(change, Change::Modified))
    }
}

/// Output with a bound. The end is what matters, so the beginning is what goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    bytes: Vec<u8>,
    cut: usize,
}

impl Output {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        // Cutting moves what stays; doing it at twice the limit keeps that rare.
        if self.bytes.len() > 2 * OUTPUT_LIMIT {
            let cut = self.bytes.len() - OUTPUT_LIMIT;
            self.bytes.drain(..cut);
            self.cut += cut;
        }
    }

    /// The text, with a first line that says how much was cut.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.cut == 0 { text.into_owned() } else { format!("[{} bytes cut]\n{text}", self.cut) }
    }
}

/// A report in the making.
#[derive(Debug)]
pub(super) struct Draft {
    message: String,
    partial: String,
    error: Option<Failure>,
    files: BTreeMap<PathBuf, Change>,
    stdout: Output,
    stderr: Output,
    /// Commands that sent output as it came: their last event repeats it.
    streamed: HashSet<String>,
    steps: u64,
    review: Option<Value>,
    usage: Option<TokenUsage>,
    /// Tokens of the conversation before the turn.
    before: TokenUsage,
}

impl Draft {
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

    /// Takes one event in.
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
                    // Totals only: core repeats and estimates the last call's.
                    self.usage = Some(difference(&info.total_token_usage, &self.before));
                }
            }
            EventMsg::Error(error)
                if error
                    .codex_error_info
                    .as_ref()
                    .is_none_or(|info| info.affects_turn_status()) =>
            {
                self.error = Some(Failure { source: "model", message: error.message.clone() });
            }
            EventMsg::TurnComplete(complete) => {
                if let Some(message) = &complete.last_agent_message {
                    self.message.clone_from(message);
                }
                if let Some(error) = &complete.error {
                    self.error = Some(Failure { source: "model", message: error.message.clone() });
                }
            }
            // Core's events grow with upstream; the rest adds nothing to a report.
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

    pub(super) fn fail(&mut self, failure: Failure) {
        self.error = Some(failure);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn finish(
        self,
        turn_id: TurnId,
        status: Status,
        duration_ms: u64,
        end_seq: Seq,
    ) -> Report {
        Report {
            turn_id,
            status,
            message: if self.message.is_empty() { self.partial } else { self.message },
            error: self.error.filter(|_| status != Status::Completed),
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
    fn long_output_keeps_its_end_and_says_what_was_cut() {
        let mut output = Output::default();
        for _ in 0..600 {
            output.push(&[b'x'; 1024]);
        }
        output.push(b"the end");
        let text = output.text();
        assert!(text.starts_with('['), "{}", &text[..40]);
        assert!(text.ends_with("the end"));
        assert!(text.len() <= 2 * OUTPUT_LIMIT + 64);
    }

    #[test]
    fn a_file_created_and_changed_in_one_turn_is_created() {
        let mut draft = Draft::new(None);
        let (cwd, path) = (Path::new("/w"), Path::new("a.py"));
        draft.change(path, &FileChange::Add { content: "x".into() }, cwd);
        let update = |move_path| FileChange::Update { unified_diff: String::new(), move_path };
        draft.change(path, &update(None), cwd);
        assert!(matches!(draft.files[path], Change::Created { .. }));
        draft.change(path, &FileChange::Delete { content: "x".into() }, cwd);
        assert!(draft.files.is_empty());
    }
}
