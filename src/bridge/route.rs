//! Who is asked, in which order: a provider, and for some of its models others that stand in for it.
//!
//! A call goes on to the next target when one is overloaded or out, its own retries included, and
//! nothing has been passed on to core yet: what announces an answer without saying anything is held
//! back while another target is left.

use std::collections::HashMap;
use std::sync::Arc;

use futures::Stream;
use futures::StreamExt;

use super::ask::Ask;
use super::backend::Event;
use super::meter::Meter;
use super::origin::Audience;
use super::record::Records;
use super::upstream::Setback;
use super::upstream::Upstream;

/// Announcements that are held back at most.
const MAX_HELD: usize = 64;

/// One that can be asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// The provider.
    pub upstream: Upstream,
    /// Its name for the model.
    pub model: String,
}

/// A provider of core's configuration, and who stands in for it.
#[derive(Debug, Clone)]
pub struct Route {
    upstream: Upstream,
    /// By the provider's own model.
    fallbacks: HashMap<String, Arc<[Target]>>,
    models: Arc<[String]>,
    records: Records,
}

impl Route {
    /// A provider; `fallbacks` are the targets after it for a model of its, `models` those that
    /// configuration names.
    pub fn new(
        upstream: Upstream,
        fallbacks: HashMap<String, Arc<[Target]>>,
        models: Arc<[String]>,
        records: Records,
    ) -> Self {
        Self { upstream, fallbacks, models, records }
    }

    /// The provider's models that configuration names.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// Answers a call. Dropping the answer drops the provider's stream at once.
    pub fn answer(&self, ask: Ask) -> impl Stream<Item = Event> + Send + use<> {
        let own = Target { upstream: self.upstream.clone(), model: ask.model().to_owned() };
        let fallbacks = self.fallbacks.get(ask.model()).map_or(&[][..], |fallbacks| fallbacks);
        let mut left: Vec<Target> = fallbacks.iter().rev().cloned().collect();
        left.push(own);
        let records = self.records.clone();
        let home = Arc::clone(self.upstream.id());
        async_stream::stream! {
            let mut first: Option<Setback> = None;
            let mut others = String::new();
            let mut asked = Some(ask);
            while let Some(target) = left.pop() {
                let Target { upstream, model } = &target;
                // A conversation may be long: it is copied only where somebody else may be asked too.
                let ask = if left.is_empty() { asked.take() } else { asked.clone() };
                let Some(ask) = ask else { return };
                let ask = prepare(ask, &target, &home);
                let origins = ask.origins.clone();
                let meter = Meter::new(&records, upstream.id(), &ask);
                let mut said = std::pin::pin!(upstream.call(ask, meter));
                let mut held = Vec::new();
                let mut holding = !left.is_empty();
                let mut spoke = false;
                let setback = loop {
                    let event = match said.next().await {
                        Some(Ok(event)) => event,
                        Some(Err(setback)) => break setback,
                        None => return,
                    };
                    origins.learn(&event, upstream.id());
                    let announces = announces(&event);
                    if holding && announces && held.len() < MAX_HELD {
                        held.push(event);
                        continue;
                    }
                    holding = false;
                    for event in held.drain(..) {
                        yield event;
                    }
                    spoke |= !announces;
                    yield event;
                };
                if spoke || (first.is_none() && !setback.elsewhere) {
                    yield setback.event(None);
                    return;
                }
                if let Some(next) = left.last() {
                    tracing::warn!(
                        provider = &**upstream.id(),
                        model,
                        error = setback.message,
                        next_provider = &**next.upstream.id(),
                        next_model = next.model,
                        "the model did not answer: falling back"
                    );
                }
                if first.is_none() {
                    first = Some(setback);
                } else {
                    let joint = if others.is_empty() { "" } else { "; " };
                    others += &format!("{joint}{}/{model}: {}", upstream.id(), setback.message);
                }
            }
            if let Some(setback) = first {
                let others = (!others.is_empty()).then_some(others);
                yield setback.event(others.as_deref());
            }
        }
    }
}

/// The call as one target is asked.
fn prepare(mut ask: Ask, target: &Target, home: &str) -> Ask {
    let Target { upstream, model } = target;
    ask.request.set_model(model);
    let audience = Audience { provider: upstream.id(), api: upstream.api(), home };
    ask.origins.filter(ask.request.input_mut(), audience);
    ask
}

/// Whether an event says no more than that something is to come.
fn announces(event: &Event) -> bool {
    matches!(
        event.kind.as_str(),
        "response.created"
            | "response.queued"
            | "response.in_progress"
            | "response.metadata"
            | "codex.rate_limits"
            | "keepalive"
            | "message"
    ) || event.kind.ends_with(".added")
}
