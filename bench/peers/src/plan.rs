//! The extent of a full run, and of a quick run whose figures are meaningless.

use std::time::Duration;

use bench_support::Mode;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    /// Rounds of a short turn, new and warm.
    pub(crate) rounds: usize,
    /// The pause between two turns.
    pub(crate) pause: Duration,
    /// Rounds of a turn with a tool call.
    pub(crate) tool_rounds: usize,
    /// Rounds of a long turn.
    pub(crate) long_rounds: usize,
    /// Deltas of a long turn.
    pub(crate) long_deltas: usize,
    /// Conversations that start at once.
    pub(crate) bursts: Vec<usize>,
    /// Timed rounds of a burst; one more samples the memory.
    pub(crate) burst_rounds: usize,
    /// Rounds of start to ready.
    pub(crate) starts: usize,
    /// Conversations and streams over which the idle cost is averaged.
    pub(crate) idle: usize,
    /// The time in which allocators and background tasks settle.
    pub(crate) settle: Duration,
    pub(crate) subscribers: Vec<usize>,
    /// Events per subscriber.
    pub(crate) stamped_deltas: usize,
}

/// A turn of two deltas.
pub(crate) const SHORT: &str = "deltas: 2";
/// A turn with a tool call.
pub(crate) const TOOL: &str = "run: true";

impl Plan {
    pub(crate) fn new(mode: Mode) -> Self {
        let rounds = mode.rounds();
        match mode {
            Mode::Full => Self {
                mode,
                rounds,
                pause: Duration::from_millis(150),
                tool_rounds: 15,
                long_rounds: 8,
                long_deltas: 10_000,
                bursts: vec![1, 8, 16, 64, 256],
                burst_rounds: 3,
                starts: 10,
                idle: 100,
                settle: Duration::from_secs(2),
                subscribers: vec![1, 100, 1000],
                stamped_deltas: 40,
            },
            Mode::Quick => Self {
                mode,
                rounds,
                pause: Duration::ZERO,
                tool_rounds: 1,
                long_rounds: 1,
                long_deltas: 500,
                bursts: vec![1, 4],
                burst_rounds: 1,
                starts: 1,
                idle: 3,
                settle: Duration::from_millis(50),
                subscribers: vec![1, 10],
                stamped_deltas: 5,
            },
        }
    }

    pub(crate) fn long_prompt(&self) -> String {
        format!("deltas: {}", self.long_deltas)
    }

    /// The prompts of the compared turns.
    pub(crate) fn prompts(&self) -> [String; 3] {
        [SHORT.to_owned(), TOOL.to_owned(), self.long_prompt()]
    }
}
