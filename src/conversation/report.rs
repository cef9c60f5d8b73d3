//! The report of a turn, folded from its events as they pass, so that no reader has to read them
//! again. Bounded: output and file contents are truncated, and say so.

use std::collections::BTreeMap;
use std::path::PathBuf;

use codex_gateway_engine::protocol::TokenUsage;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::id::Seq;
use super::id::TurnId;

/// Bytes of each output stream, and of the agent's message, that a report keeps.
pub(super) const OUTPUT_LIMIT: usize = 256 * 1024;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Status")]
pub enum TurnStatus {
    /// The agent finished.
    Completed,
    /// The model, core or the gateway failed.
    Failed,
    /// The time limit interrupted it.
    TimedOut,
    /// A client interrupted it, or the process drained.
    Cancelled,
}

impl TurnStatus {
    /// All statuses.
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

    /// The exit code of a process that ends like the turn: 124 as of `timeout(1)`, 130 as a shell
    /// reports SIGINT.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::TimedOut => 124,
            Self::Cancelled => 130,
        }
    }
}

/// The change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Created.
    Created {
        /// The beginning of its content.
        content: String,
        /// Whether the content is longer.
        truncated: bool,
    },
    /// Modified.
    Modified,
    /// Deleted.
    Deleted,
}

/// The report of a turn that has ended.
#[derive(Debug, Clone)]
pub struct TurnReport {
    /// The turn.
    pub turn_id: TurnId,
    /// How it ended.
    pub status: TurnStatus,
    /// The agent's last message, as far as it came.
    pub message: String,
    /// The failure, if the turn failed.
    pub error: Option<TurnError>,
    /// The changes of files, by path relative to the conversation's folder.
    pub files: BTreeMap<PathBuf, Change>,
    /// Standard output of the commands.
    pub stdout: Output,
    /// Standard error of the commands.
    pub stderr: Output,
    /// The number of commands, patches and tool calls that ended.
    pub steps: u64,
    /// The findings of a review, as core's JSON.
    pub review: Option<Value>,
    /// Tokens of the turn.
    pub usage: Option<TokenUsage>,
    /// Its duration.
    pub duration_ms: u64,
    /// The seq of its last event.
    pub end_seq: Seq,
}

/// A failure inside a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
pub struct TurnError {
    /// The component that failed.
    pub source: ErrorSource,
    /// The message.
    pub message: String,
}

/// The component that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorSource {
    /// The gateway, or core.
    Gateway,
    /// The model or its provider.
    Model,
}

impl TurnReport {
    fn paths(&self, matches: impl Fn(&Change) -> bool) -> Vec<String> {
        self.files
            .iter()
            .filter(|(_, change)| matches(change))
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

/// Output with a bound. The end matters most, so the beginning is cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    bytes: Vec<u8>,
    cut: usize,
}

impl Output {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        // Cutting moves the remaining bytes. At twice the limit, that is rare.
        if self.bytes.len() > 2 * OUTPUT_LIMIT {
            let cut = self.bytes.len() - OUTPUT_LIMIT;
            self.bytes.drain(..cut);
            self.cut += cut;
        }
    }

    /// The text. If its beginning was cut, the first line gives the number of bytes.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.cut == 0 { text.into_owned() } else { format!("[{} bytes cut]\n{text}", self.cut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_keeps_its_end() {
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
}
