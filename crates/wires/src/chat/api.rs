//! The name of the API in errors, and what several files of this wire need.

use crate::WireError;

/// The name of the API in errors.
pub(super) const API: &str = "Chat Completions provider";

pub(super) fn inexpressible(what: impl std::fmt::Display) -> WireError {
    WireError::invalid_request(API, format_args!("this API cannot express {what}"))
}
