//! Measures a model call. Its [`CallRecord`] is written at the last event or failure, or else when
//! the recorder is dropped: then the call was cancelled.

use chrono::Utc;
use tokio::time::Instant;
use wires::usage::Usage;

use super::call::ModelCall;
use super::call_log::CallLog;
use super::call_log::CallRecord;
use super::call_log::Status;
use super::event::Event;
use super::event::Kind;
use super::span::CallSpan;

/// Why a call failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    /// One of the codes of all providers.
    pub(super) code: &'a str,
    /// The provider's words.
    pub(super) message: &'a str,
    /// Whether the same call may succeed later.
    pub(super) retryable: bool,
}

/// The measurements of a call under way.
#[derive(Debug)]
pub(super) struct CallRecorder {
    log: CallLog,
    begun: Instant,
    /// `None` once it is written.
    record: Option<CallRecord>,
    span: CallSpan,
}

impl CallRecorder {
    pub(super) fn new(log: &CallLog, provider: &str, call: &ModelCall) -> Self {
        let record = CallRecord {
            started_at: Utc::now(),
            conversation_id: call.conversation_id.clone(),
            turn_id: call.turn_id.clone(),
            provider: provider.to_owned(),
            model: call.model().to_owned(),
            attempts: 0,
            queued_ms: 0,
            first_byte_ms: None,
            first_token_ms: None,
            last_byte_ms: 0,
            input_tokens: None,
            cached_input_tokens: None,
            output_tokens: None,
            reasoning_tokens: None,
            status: Status::Dropped,
            http_status: None,
            error_code: None,
            error_message: None,
            retryable: None,
        };
        let conversation = call.conversation_id.as_deref().unwrap_or_default();
        let span = CallSpan::begin(&call.trace, provider, call.model(), conversation);
        Self { log: log.clone(), begun: Instant::now(), record: Some(record), span }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The span of the call.
    pub(super) fn span(&self) -> &CallSpan {
        &self.span
    }

    /// Notes that the call has left the queue.
    pub(super) fn queued(&mut self) {
        let elapsed = self.elapsed();
        if let Some(record) = &mut self.record {
            record.queued_ms = elapsed;
        }
    }

    /// Counts a request. Returns the number of requests so far.
    pub(super) fn attempt(&mut self) -> u32 {
        self.record.as_mut().map_or(0, |record| {
            record.attempts += 1;
            record.attempts
        })
    }

    /// Notes the status of the provider's answer.
    pub(super) fn answered(&mut self, status: u16) {
        let elapsed = self.elapsed();
        if let Some(record) = &mut self.record {
            record.http_status = Some(status);
            record.first_byte_ms = Some(elapsed);
        }
    }

    /// Observes an event that is about to be passed on.
    pub(super) fn observe(&mut self, event: &Event) {
        match event.kind() {
            Kind::Delta | Kind::ItemDone(_) => {
                let elapsed = self.elapsed();
                if let Some(record) = &mut self.record {
                    record.first_token_ms.get_or_insert(elapsed);
                }
            }
            Kind::Completed(completed) => {
                let Usage { input, cached, output, reasoning, .. } = completed.usage;
                let count = |tokens: Option<i64>| tokens.and_then(|tokens| tokens.try_into().ok());
                if let Some(record) = &mut self.record {
                    record.input_tokens = count(input);
                    record.cached_input_tokens = count(cached);
                    record.output_tokens = count(output);
                    record.reasoning_tokens = count(reasoning);
                }
                self.end(Status::Completed, None);
            }
            Kind::Announcement | Kind::Failed(_) | Kind::Rejected(_) | Kind::Other => {}
        }
    }

    /// Ends the call as failed.
    pub(super) fn failed(&mut self, failure: &Failure<'_>) {
        if let Some(record) = &mut self.record {
            record.error_message = Some(failure.message.to_owned());
            record.retryable = Some(failure.retryable);
        }
        self.end(Status::Failed, Some(failure.code));
    }

    fn end(&mut self, status: Status, code: Option<&str>) {
        let elapsed = self.elapsed();
        let Some(mut record) = self.record.take() else { return };
        record.status = status;
        record.last_byte_ms = elapsed;
        record.error_code = code.map(str::to_owned);
        let _entered = self.span.span().enter();
        tracing::info!(
            provider = record.provider,
            model = record.model,
            conversation = record.conversation_id,
            turn = record.turn_id,
            attempts = record.attempts,
            queued_ms = record.queued_ms,
            first_byte_ms = record.first_byte_ms,
            first_token_ms = record.first_token_ms,
            took_ms = record.last_byte_ms,
            input_tokens = record.input_tokens,
            output_tokens = record.output_tokens,
            http_status = record.http_status,
            status = status.as_str(),
            code,
            "model call"
        );
        self.span.end(&record);
        self.log.add(record);
    }
}

impl Drop for CallRecorder {
    fn drop(&mut self) {
        self.end(Status::Dropped, None);
    }
}
