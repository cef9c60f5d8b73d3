//! Conversations: each is a cheap handle on one codex thread, its event log and its turns.
//!
//! - one conversation: `handle` (the handle), `state` (its state, under one lock), [`log`] (the
//!   numbered events), [`settings`], [`limits`], [`id`]
//! - one turn: `turn` (how turns start), `pump` (the one task that reads core's events),
//!   `supervisor` (the one task per turn that may interrupt it), `command_limits`,
//!   `rollback`, [`approvals`] and
//!   `grants` (what they give), [`report`] (the outcome), [`span`] (the trace)
//! - all conversations: [`registry`] (lookup) and `open` (prompt, start, resume), [`sessions`] (the
//!   file), `prestart`, `eviction`, `archive`, `permitted` (what the operator permits), [`mcp_servers`],
//!   [`workspaces`]
//! - on disk: `record_file` (appended lines), [`record_status`] (whether they can be written),
//!   `record_keeping` (the task that syncs them), `restore`
//! - bounds: [`limits`], `room` (live conversations), [`event_budget`] (events in memory)

pub mod approvals;
mod archive;
mod command_limits;
mod conversation_ref;
mod damaged_line;
pub mod event_budget;
mod event_trimming;
mod eviction;
mod folder_leases;
mod grants;
mod handle;
pub mod id;
pub mod limits;
pub mod log;
pub mod mcp_servers;
mod model_choice;
mod open;
mod permitted;
mod prestart;
mod pump;
mod record_file;
mod record_keeping;
pub mod record_status;
pub mod registry;
pub mod report;
mod report_builder;
pub(crate) mod restore;
mod rollback;
mod room;
#[cfg(test)]
pub(crate) mod scripted;
pub(crate) mod sessions;
pub mod settings;
mod span;
mod start_options;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod tool_spans;
mod turn;
pub mod workspaces;
pub mod written_folders;

pub use self::conversation_ref::ConversationRef;
pub use self::handle::Conversation;
pub use self::model_choice::ModelChoice;
pub use self::permitted::Permitted;
pub use self::permitted::ReducedSetting;
pub use self::start_options::StartOptions;
pub use self::state::Activity;
pub use self::state::Snapshot;
pub use self::state::TurnSummary;
pub use self::turn::IfBusy;
pub use self::turn::Turn;
