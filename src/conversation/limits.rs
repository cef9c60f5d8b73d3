//! The bounds of conversations, turns and events.

use std::time::Duration;

use crate::input::whole::Whole;

/// The shortest and longest `timeout_ms` of a turn.
pub const TIMEOUT_RANGE_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

/// The `timeout_ms` of a turn.
pub(crate) type TurnTimeout = Whole<{ *TIMEOUT_RANGE_MS.start() }, { *TIMEOUT_RANGE_MS.end() }>;

/// The bounds of conversations, turns and events.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The time limit of a turn whose request names none.
    pub default_timeout: Duration,
    /// The longest prompt, in characters.
    pub prompt_limit_chars: usize,
    /// The largest number of turns that run at a time, over all conversations.
    pub max_running: usize,
    /// The largest number of prompts queued for one conversation.
    pub max_queued: usize,
    /// The largest number of live conversations. Those idle longest make room for others.
    pub max_live: usize,
    /// The time after which an idle conversation is evicted.
    pub idle: Duration,
    /// The number of pre-started threads.
    pub prestarted: usize,
    /// The size of a conversation's event log, in bytes.
    pub event_log_bytes: usize,
    /// The size of all event logs together, in bytes.
    pub max_event_log_bytes: usize,
    /// The pause after which a silent stream gets a heartbeat.
    pub heartbeat: Duration,
}
