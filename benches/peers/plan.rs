//! How much is done: by `cargo bench`, and by a quick run that measures nothing worth reading.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) full: bool,
    /// Of a short turn, new and warm.
    pub(crate) rounds: usize,
    /// Between two turns.
    pub(crate) pause: Duration,
    /// Of a turn with a tool call.
    pub(crate) tool_rounds: usize,
    /// Of a long turn.
    pub(crate) long_rounds: usize,
    /// The words of a long turn.
    pub(crate) long_words: usize,
    /// How many conversations start at once.
    pub(crate) crowds: Vec<usize>,
    /// How often they do; once more for their memory.
    pub(crate) crowd_rounds: usize,
    /// Of start to ready.
    pub(crate) starts: usize,
    /// How many conversations and streams share what they cost.
    pub(crate) idle: usize,
    /// Until allocators and background tasks have calmed down.
    pub(crate) calm: Duration,
    pub(crate) subscribers: Vec<usize>,
    /// Events that each subscriber gets.
    pub(crate) stamps: usize,
}

/// A turn of two words.
pub(crate) const SHORT: &str = "deltas: 2";
/// A turn with a tool call.
pub(crate) const TOOL: &str = "run: true";

impl Plan {
    pub(crate) fn new(full: bool) -> Self {
        if full {
            Self {
                full,
                rounds: 40,
                pause: Duration::from_millis(150),
                tool_rounds: 15,
                long_rounds: 8,
                long_words: 10_000,
                crowds: vec![1, 8, 16, 64, 256],
                crowd_rounds: 3,
                starts: 10,
                idle: 100,
                calm: Duration::from_secs(2),
                subscribers: vec![1, 100, 1000],
                stamps: 40,
            }
        } else {
            Self {
                full,
                rounds: 2,
                pause: Duration::ZERO,
                tool_rounds: 1,
                long_rounds: 1,
                long_words: 500,
                crowds: vec![1, 4],
                crowd_rounds: 1,
                starts: 1,
                idle: 3,
                calm: Duration::from_millis(50),
                subscribers: vec![1, 10],
                stamps: 5,
            }
        }
    }

    pub(crate) fn long(&self) -> String {
        format!("deltas: {}", self.long_words)
    }

    /// What is said in turns that are compared.
    pub(crate) fn prompts(&self) -> [String; 3] {
        [SHORT.to_owned(), TOOL.to_owned(), self.long()]
    }
}
