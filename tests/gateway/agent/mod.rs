//! The agent inside its limits: approvals, elicitation and the sandbox.

mod approvals;
mod elicitation;
mod sandbox;
