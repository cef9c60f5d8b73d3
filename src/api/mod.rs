//! The handlers of the REST endpoints, one noun a file: decoded argument → one call of `ops` →
//! reply. The table of [`crate::gateway::route`] names them.

pub mod approvals;
pub(crate) mod conversations;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod metrics;
mod task;
pub(crate) mod turns;
