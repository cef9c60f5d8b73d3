//! Who answers a model call.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::StreamExt;
use serde_json::Value;

use super::ask::Ask;
use super::demo;
use super::meter::Meter;
use super::record::Records;
use super::route::Route;

/// One event of a Responses stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its `type`.
    pub kind: String,
    /// The event, as JSON on one line.
    pub json: String,
}

impl Event {
    /// An event that is a value.
    pub fn of(value: &Value) -> Self {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        Self { kind: kind.to_owned(), json: value.to_string() }
    }

    /// Whether core expects nothing after it.
    pub fn is_last(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "response.completed" | "response.failed" | "response.incomplete" | "error"
        )
    }
}

/// The events of one answer. Dropping it drops the call.
pub type Answer = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// Who answers.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The scripted model in this process.
    Demo(Records),
    /// A provider, and those that stand in for it.
    Provider(Box<Route>),
}

/// Who answers for which provider of core's configuration.
pub type Backends = Arc<HashMap<String, Backend>>;

impl Backend {
    /// Answers a call.
    pub fn answer(&self, ask: Ask) -> Answer {
        match self {
            Self::Demo(records) => {
                let mut meter = Meter::new(records, demo::ID, &ask);
                meter.attempt();
                Box::pin(demo::answer(&ask).inspect(move |event| meter.saw(event)))
            }
            Self::Provider(route) => Box::pin(route.answer(ask)),
        }
    }

    /// The models that configuration names.
    pub fn models(&self) -> Vec<&str> {
        match self {
            Self::Demo(_) => vec![demo::ID],
            Self::Provider(route) => route.models().iter().map(String::as_str).collect(),
        }
    }
}
