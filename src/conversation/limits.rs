//! Bounds of turns and their events.

use std::time::Duration;

/// Shortest and longest `timeout_ms` of a turn.
pub const TIMEOUT_RANGE_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

/// Bounds of turns and their events.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A turn's time limit unless the request names one.
    pub default_timeout: Duration,
    /// The longest prompt.
    pub prompt_limit_chars: usize,
    /// Prompts that may wait for a conversation's running turn.
    pub max_queued: usize,
    /// Conversations kept live; above it, those idle longest rest on disk.
    pub max_live: usize,
    /// How long an idle conversation stays live.
    pub idle: Duration,
    /// How many threads are started before anybody asks for one.
    pub started_ahead: usize,
    /// How much of a conversation's events is kept in memory.
    pub event_log_bytes: usize,
    /// The pause after which a silent stream gets a comment.
    pub heartbeat: Duration,
}
