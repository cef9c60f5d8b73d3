//! One provider: a queue, a request on a pooled connection with retries before its first byte, and
//! its stream decoded into core's events as it arrives.

mod answer;
mod attempt;
mod error;
mod inflate;
mod learned;
mod request;

use std::sync::Arc;

use futures::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use self::answer::UpstreamAnswer;
pub(super) use self::error::CallError;
use self::learned::Learned;
use self::request::EncodedRequest;
use super::api::Api;
use super::call::ModelCall;
use super::client::Client;
use super::credentials::Credentials;
use super::event::Event;
use super::provider::Provider;
use super::recorder::CallRecorder;

/// A provider that can be called.
#[derive(Debug, Clone)]
pub struct Upstream {
    id: Arc<str>,
    provider: Arc<Provider>,
    client: Client,
    credentials: Credentials,
    learned: Arc<Learned>,
    /// One permit per concurrent call.
    slots: Arc<Semaphore>,
    /// One permit per call that waits for a slot.
    queue: Arc<Semaphore>,
}

impl Upstream {
    /// A provider behind a pooled client.
    pub fn new(provider: Provider, client: Client, credentials: Credentials) -> Self {
        Self {
            id: provider.id.as_str().into(),
            slots: Arc::new(Semaphore::new(provider.max_concurrent)),
            queue: Arc::new(Semaphore::new(provider.max_waiting)),
            provider: Arc::new(provider),
            client,
            credentials,
            learned: Arc::default(),
        }
    }

    /// How often core repeats a call whose stream broke.
    pub(super) fn stream_retries(&self) -> u64 {
        self.provider.stream_retries
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn api(&self) -> Api {
        self.provider.api
    }

    /// Calls the provider. The last item is core's last event, or the error. Dropping the answer
    /// drops the provider's stream at once.
    pub(super) fn call(
        &self,
        call: ModelCall,
        mut recorder: CallRecorder,
    ) -> impl Stream<Item = Result<Event, CallError>> + Send + use<> {
        let this = self.clone();
        async_stream::stream! {
            let error = 'call: {
                let mut answer = match this.begin(&call, &mut recorder).await {
                    Ok(answer) => answer,
                    Err(error) => break 'call error,
                };
                // The history is not kept for the duration of the answer.
                drop(call);
                loop {
                    let event = match answer.next().await {
                        Ok(event) => event,
                        Err(error) => break 'call error,
                    };
                    recorder.observe(&event);
                    let is_last = event.is_last();
                    yield Ok(event);
                    if is_last {
                        answer.drain().await;
                        return;
                    }
                }
            };
            recorder.failed(&error.failure());
            yield Err(error);
        }
    }

    /// Waits for a slot and sends the request, until the provider begins to answer.
    async fn begin(
        &self,
        call: &ModelCall,
        recorder: &mut CallRecorder,
    ) -> Result<UpstreamAnswer, CallError> {
        let provider = self
            .credentials
            .apply(&self.provider, call)
            .map_err(|error| CallError::of_wire(&self.provider, &error))?;
        let slot = self.slot().await.ok_or_else(|| CallError::queue_full(&provider))?;
        recorder.queued();
        let (request, decoder) = EncodedRequest::new(&provider, &call.request, &self.learned)
            .map_err(|error| CallError::of_wire(&provider, &error))?;
        match request.send(&provider, &self.client, recorder).await {
            Ok(answer) => Ok(UpstreamAnswer::new(provider, slot, decoder, answer)),
            Err(error) => Err(CallError::of_attempt(&provider, &error)),
        }
    }

    /// Waits for a slot. `None` if the queue is full.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // In order: while others wait, no slot is free.
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        let _queued = self.queue.try_acquire().ok()?;
        // Never closed: the semaphore lives as long as its provider.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }
}
