//! Errors between the gateway and core.

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Core rejected the request as invalid.
    #[error("{0}")]
    Rejected(String),
    /// No conversation with this id is recorded on disk.
    #[error("conversation {0} is not recorded")]
    NotFound(String),
    /// The turn to steer is not running: not yet, or no longer.
    #[error("no turn is running: nothing to steer")]
    NoActiveTurn,
    /// A tool server cannot be used; the message says why.
    #[error("{0}")]
    ToolServer(String),
    /// A tool server exceeded its time limit.
    #[error("{0}")]
    ToolServerTimedOut(String),
    /// A volume is nearly full, so no command starts.
    #[error("{0}")]
    NoSpace(String),
    /// Core itself failed.
    #[error("{0}")]
    Failed(String),
}
