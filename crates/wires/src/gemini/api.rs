//! The name of the API in errors, and what several files of this wire need.

use crate::WireError;

/// The name of the API in errors.
pub(super) const API: &str = "Gemini";
/// The mark of this wire in reasoning that core keeps.
pub(super) const MARK: &str = "gemini";

/// A request that cannot be sent, or must not be repeated unchanged.
pub(super) fn invalid_request(problem: impl std::fmt::Display) -> WireError {
    WireError::invalid_request(API, problem)
}
