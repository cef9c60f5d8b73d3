//! The demo model: a scripted model, so that a machine with no key and no network runs real turns
//! through the real codex-core, tools and sandbox included.
//!
//! - [`request`]: what core sends, as far as the script needs it;
//! - [`script`]: what the model says to it;
//! - [`response`]: how it says it, event by event.

mod request;
mod response;
mod script;

use futures::Stream;

use super::ask::Ask;
use super::backend::Event;

/// The id of the demo model's provider, and of its model.
pub const ID: &str = "demo";

/// Answers a call.
pub fn answer(ask: &Ask) -> impl Stream<Item = Event> + Send + use<> {
    let request = request::Request::new(ask);
    response::events(script::reply(&request), request.size())
}
