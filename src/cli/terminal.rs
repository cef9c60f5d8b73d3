//! Renders events on a terminal: a spinner, commands with their output, and the answer.

#![expect(clippy::indexing_slicing, reason = "serde_json returns null for missing members")]

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::Value;

use super::output::eprint_lossy;
use crate::conversation::log::Entry;

/// Prints the answer to standard output and everything else to standard error.
#[derive(Debug)]
pub(super) struct Terminal {
    spinner: ProgressBar,
    /// Whether deltas of the answer were printed. Its last event repeats the whole text.
    streamed: bool,
}

impl Terminal {
    pub(super) fn new() -> Self {
        // indicatif hides the spinner if standard error is not a terminal.
        let spinner = ProgressBar::new_spinner().with_message("thinking");
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self { spinner, streamed: false }
    }

    pub(super) fn show(&mut self, entry: &Entry) -> io::Result<()> {
        let msg: Value = serde_json::from_slice(entry.msg()).unwrap_or_default();
        let text = |member: &str| msg[member].as_str().unwrap_or_default();
        match entry.kind() {
            "agent_message_content_delta" => {
                self.spinner.finish_and_clear();
                self.streamed = true;
                let mut out = io::stdout().lock();
                write!(out, "{}", text("delta"))?;
                out.flush()?;
            }
            "agent_message" => {
                self.spinner.finish_and_clear();
                let message = if self.streamed { "" } else { text("message") };
                writeln!(io::stdout(), "{message}")?;
                self.streamed = false;
            }
            "exec_command_begin" => self.note(&format!("$ {}", command(&msg["command"]))),
            "exec_command_output_delta" => {
                let chunk = STANDARD.decode(text("chunk")).unwrap_or_default();
                self.spinner.suspend(|| io::stderr().write_all(&chunk))?;
            }
            "exec_command_end" if msg["exit_code"] != 0 => {
                self.note(&format!("exit code {}", msg["exit_code"]));
            }
            "patch_apply_end" => {
                for path in
                    msg["changes"].as_object().into_iter().flat_map(|changes| changes.keys())
                {
                    self.note(&format!("wrote {path}"));
                }
            }
            "plan_update" => {
                for step in msg["plan"].as_array().into_iter().flatten() {
                    let mark = match step["status"].as_str() {
                        Some("completed") => "✔",
                        Some("in_progress") => "▶",
                        _ => "·",
                    };
                    self.note(&format!("{mark} {}", step["step"].as_str().unwrap_or_default()));
                }
            }
            "warning" | "error" | "stream_error" => self.note(text("message")),
            "task_complete" | "turn_aborted" => self.spinner.finish_and_clear(),
            _ => {}
        }
        Ok(())
    }

    fn note(&self, line: &str) {
        let grey = io::stderr().is_terminal();
        let (grey, plain) = if grey { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        self.spinner.suspend(|| eprint_lossy(format_args!("{grey}{line}{plain}")));
    }
}

/// Returns the command that the agent ran. Core wraps it as `shell -c COMMAND`.
fn command(argv: &Value) -> String {
    let words: Vec<&str> =
        argv.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match words.as_slice() {
        [_, flag, command] if flag.starts_with('-') => (*command).to_owned(),
        words => words.join(" "),
    }
}
