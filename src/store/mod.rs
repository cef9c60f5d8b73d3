//! What must outlive the process.

pub mod sessions;
