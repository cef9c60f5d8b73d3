//! The use cases: typed request in, typed result out, with the rules between them. REST, JSON-RPC
//! and the command line call the same functions, which know neither HTTP nor JSON-RPC.
//!
//! Changes of a conversation run detached ([`App::detached`]): they finish even if the client
//! disconnects.
//!
//! - [`prompt`]: starts a turn; [`cancel_on_disconnect`] ends it with its client
//! - [`turns`]: steer, interrupt, compact, rollback, review of a [`review_target`]
//! - [`conversations`]: show, list, start, archive, resume, fork
//! - [`events`]: reads events; [`history`]: recorded turns and changes
//! - [`approvals`]: lists and decides what a turn asks
//! - [`commands`], [`patches`], [`terminals`]: programs in the sandbox, if [`sandbox`] permits
//! - [`mcp`]: tool servers; [`login`]: keys of sessions; [`upstream`]: calls of upstreams
//! - [`policy`]: what the operator permits

pub(crate) mod approvals;
pub(crate) mod cancel_on_disconnect;
pub(crate) mod commands;
pub(crate) mod conversations;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod login;
pub(crate) mod mcp;
pub(crate) mod patches;
mod policy;
pub(crate) mod prompt;
mod review_target;
mod sandbox;
pub(crate) mod terminals;
pub(crate) mod turns;
pub(crate) mod upstream;
pub(crate) mod usage;

use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::conversation::registry::not_found;
use crate::error::Error;

/// Finds a conversation by its id.
///
/// # Errors
/// `NotFound`, also if it belongs to another caller.
pub(crate) fn find(app: &App, caller: &str, id: &ConversationId) -> Result<ConversationRef, Error> {
    app.conversations().get(caller, id).ok_or_else(|| not_found(id))
}
