//! The events of an answer.

use std::pin::Pin;

use futures::Stream;
pub use wires::Event;
pub use wires::event::Kind;

/// The events of one answer. Dropping it drops the call.
pub type Answer = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// Makes the id of a response that no provider named.
pub(super) fn response_id() -> String {
    format!("resp_{}", uuid::Uuid::now_v7().simple())
}
