//! The handlers of the REST endpoints, one noun a file: decoded argument → one call of [`crate::ops`]
//! → reply. Which endpoint calls which handler is in [`crate::gateway::route`].

pub mod approvals;
pub(crate) mod conversations;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod metrics;
mod task;
pub(crate) mod turns;
