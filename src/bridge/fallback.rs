//! Which providers answer a call, in order: the conversation's own, and for some of its models
//! others as fallbacks.
//!
//! A call moves to the next candidate if one is overloaded or unreachable, after its own retries,
//! and if core has received nothing yet. So announcements, which carry no content, are held back
//! while another candidate is left.

use std::collections::HashMap;
use std::sync::Arc;

use futures::Stream;
use futures::StreamExt;

use super::call::ModelCall;
use super::call_log::CallLog;
use super::event::Event;
use super::event::Kind;
use super::provenance::Recipient;
use super::recorder::CallRecorder;
use super::repeats::Repeats;
use super::repeats::TurnKey;
use super::upstream::CallError;
use super::upstream::Upstream;

/// The most announcements that are held back.
const MAX_HELD: usize = 64;

/// A provider that can answer a call.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The provider.
    pub upstream: Upstream,
    /// The provider's name for the model.
    pub model: String,
}

/// A provider of core's configuration, and its fallbacks.
#[derive(Debug, Clone)]
pub struct FallbackChain {
    upstream: Upstream,
    /// By the provider's own model.
    fallbacks: HashMap<String, Arc<[Candidate]>>,
    models: Arc<[String]>,
    log: CallLog,
    repeats: Repeats,
}

impl FallbackChain {
    /// A provider with the fallbacks of each of its models. `models` are those that the
    /// configuration names.
    pub fn new(
        upstream: Upstream,
        fallbacks: HashMap<String, Arc<[Candidate]>>,
        models: Arc<[String]>,
        log: CallLog,
    ) -> Self {
        let repeats = Repeats::new(upstream.stream_retries());
        Self { upstream, fallbacks, models, log, repeats }
    }

    /// The provider's models that the configuration names.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// The candidates for a model, the first one last.
    fn candidates(&self, model: &str) -> Vec<Candidate> {
        let fallbacks = self.fallbacks.get(model).map_or(&[][..], |fallbacks| fallbacks);
        let mut candidates: Vec<Candidate> = fallbacks.iter().rev().cloned().collect();
        candidates.push(Candidate { upstream: self.upstream.clone(), model: model.to_owned() });
        candidates
    }

    /// Answers a call. Dropping the answer drops the provider's stream at once.
    pub fn answer(&self, call: ModelCall) -> impl Stream<Item = Event> + Send + use<> {
        let mut candidates = self.candidates(call.model());
        let log = self.log.clone();
        let home = Arc::clone(self.upstream.id());
        let repeats = self.repeats.clone();
        async_stream::stream! {
            let turn = TurnKey::of(&call);
            let mut failures = Failures::default();
            let mut call = Some(call);
            while let Some(candidate) = candidates.pop() {
                // A history may be long: it is cloned only if another candidate is left.
                let own = if candidates.is_empty() { call.take() } else { call.clone() };
                let Some(own) = own else { return };
                let own = candidate.prepare(own, &home);
                let Candidate { upstream, .. } = &candidate;
                let provenance = own.provenance.clone();
                let recorder = CallRecorder::new(&log, upstream.id(), &own);
                let mut answer = std::pin::pin!(upstream.call(own, recorder));
                let mut held = Vec::new();
                let mut holding = !candidates.is_empty();
                let mut has_content = false;
                let error = loop {
                    let event = match answer.next().await {
                        Some(Ok(event)) => event,
                        Some(Err(error)) => break error,
                        None => return,
                    };
                    provenance.record(&event, upstream.id());
                    let announces = matches!(event.kind(), Kind::Announcement);
                    if holding && announces && held.len() < MAX_HELD {
                        held.push(event);
                        continue;
                    }
                    holding = false;
                    for event in held.drain(..) {
                        yield event;
                    }
                    has_content |= !announces;
                    if matches!(event.kind(), Kind::Completed(_)) {
                        repeats.forget(&turn);
                    }
                    yield event;
                };
                if has_content || (failures.first.is_none() && !error.fallback) {
                    yield repeats.judge(&turn, error).into_event(None);
                    return;
                }
                candidate.fails_over(candidates.last(), &error);
                failures.add(&candidate, error);
            }
            if let Some((error, others)) = failures.into_error() {
                yield repeats.judge(&turn, error).into_event(others.as_deref());
            }
        }
    }
}

impl Candidate {
    /// Logs that the next candidate is asked, if there is one.
    fn fails_over(&self, next: Option<&Self>, error: &CallError) {
        let Some(next) = next else { return };
        tracing::warn!(
            provider = &**self.upstream.id(),
            model = self.model,
            error = error.message,
            next_provider = &**next.upstream.id(),
            next_model = next.model,
            "model call failed; falling back"
        );
    }

    /// Adapts a call to this candidate.
    fn prepare(&self, mut call: ModelCall, home: &str) -> ModelCall {
        let Self { upstream, model } = self;
        call.request.set_model(model);
        let recipient = Recipient { provider: upstream.id(), api: upstream.api(), home };
        call.provenance.filter(call.request.input_mut(), recipient);
        call
    }
}

/// The failures of all candidates so far.
#[derive(Default)]
struct Failures {
    /// The failure that core receives.
    first: Option<CallError>,
    /// The messages of the others.
    others: Vec<String>,
}

impl Failures {
    fn add(&mut self, candidate: &Candidate, error: CallError) {
        if self.first.is_none() {
            self.first = Some(error);
        } else {
            let Candidate { upstream, model } = candidate;
            self.others.push(format!("{}/{model}: {}", upstream.id(), error.message));
        }
    }

    /// Returns the failure for core, with the messages of the others.
    fn into_error(self) -> Option<(CallError, Option<String>)> {
        let others = (!self.others.is_empty()).then(|| self.others.join("; "));
        Some((self.first?, others))
    }
}
