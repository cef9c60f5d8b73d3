//! The demo model: a script, so that a machine with no key and no network runs real turns through
//! the real codex-core, tools and sandbox included.
//!
//! - [`request`]: core's request, as far as the script needs it;
//! - [`script`]: the replies;
//! - [`response`]: their events.

mod request;
mod response;
mod script;

use futures::Stream;

use super::call::ModelCall;
use super::event::Event;

/// The id of the demo model's provider, and of its model.
pub const ID: &str = "demo";

/// Answers a call.
pub fn answer(call: &ModelCall) -> impl Stream<Item = Event> + Send + use<> {
    let request = request::Request::new(call);
    response::events(script::reply(&request), request.size())
}
