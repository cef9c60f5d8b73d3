//! Who answers a model call.

use std::pin::Pin;

use futures::Stream;

use super::ask::Ask;
use super::demo;

/// One event of a Responses stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its `type`.
    pub kind: String,
    /// The event, as JSON on one line.
    pub json: String,
}

/// The events of one answer. Dropping it drops the call.
pub type Answer = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// Who answers.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The scripted model in this process.
    Demo,
}

impl Backend {
    /// Answers a call.
    pub fn answer(&self, ask: Ask) -> Answer {
        match self {
            Self::Demo => Box::pin(demo::answer(&ask)),
        }
    }
}
