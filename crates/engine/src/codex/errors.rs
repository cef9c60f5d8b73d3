//! Errors of core, as the gateway sees them.

use codex_protocol::error::CodexErr;

use crate::EngineError;

pub(super) fn engine_error(error: CodexErr) -> EngineError {
    match error {
        CodexErr::InvalidRequest(_)
        | CodexErr::UnsupportedOperation(_)
        | CodexErr::AgentLimitReached { .. } => EngineError::Rejected(error.to_string()),
        CodexErr::ThreadNotFound(id) => EngineError::NotFound(id.to_string()),
        // Core's error type is upstream's and grows.
        other => EngineError::Failed(other.to_string()),
    }
}
