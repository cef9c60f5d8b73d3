//! The name of the API in errors, and what several files of this wire need.

/// The name of the API in errors.
pub(super) const API: &str = "Responses provider";
