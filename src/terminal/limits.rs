//! Limits of terminals.

use std::time::Duration;

/// Limits of terminals.
#[derive(Debug, Clone)]
pub struct TerminalLimits {
    /// The most terminals that run at a time.
    pub max: usize,
    /// The time without input or output after which a terminal is ended.
    pub idle: Duration,
    /// The time after which a terminal is ended in any case.
    pub lifetime: Duration,
}
