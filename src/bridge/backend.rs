//! The answering side of a model call.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;

use super::call::ModelCall;
use super::call_log::CallLog;
use super::demo;
use super::event::Answer;
use super::fallback::FallbackChain;
use super::recorder::CallRecorder;

/// The model behind one provider of core's configuration.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The scripted model in this process.
    Demo(CallLog),
    /// A provider and its fallbacks.
    Provider(Box<FallbackChain>),
}

/// The backends by the provider's id in core's configuration.
pub type Backends = Arc<HashMap<String, Backend>>;

impl Backend {
    /// Answers a call.
    pub fn answer(&self, call: ModelCall) -> Answer {
        match self {
            Self::Demo(log) => {
                let mut recorder = CallRecorder::new(log, demo::ID, &call);
                recorder.attempt();
                let events = demo::answer(&call);
                Box::pin(events.inspect(move |event| recorder.observe(event)))
            }
            Self::Provider(chain) => Box::pin(chain.answer(call)),
        }
    }

    /// The models that the configuration names.
    pub fn models(&self) -> Vec<&str> {
        match self {
            Self::Demo(_) => vec![demo::ID],
            Self::Provider(chain) => chain.models().iter().map(String::as_str).collect(),
        }
    }
}
