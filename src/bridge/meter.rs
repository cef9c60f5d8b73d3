//! A model call under way, measured. Its [`CallRecord`] is written at the last event, or, where there
//! is none, when the meter is dropped: nobody wanted the answer any longer.

use chrono::Utc;
use serde::Deserialize;
use tokio::time::Instant;

use super::ask::Ask;
use super::backend::Event;
use super::record::CallRecord;
use super::record::Records;
use super::record::Status;
use crate::bridge::span::CallSpan;

/// A call under way.
#[derive(Debug)]
pub(super) struct Meter {
    records: Records,
    begun: Instant,
    /// Gone once it is written.
    record: Option<CallRecord>,
    span: CallSpan,
}

impl Meter {
    pub(super) fn new(records: &Records, provider: &str, ask: &Ask) -> Self {
        let record = CallRecord {
            started_at: Utc::now(),
            conversation_id: ask.conversation_id.clone(),
            turn_id: ask.turn_id.clone(),
            provider: provider.to_owned(),
            model: ask.model().to_owned(),
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
        };
        let conversation = ask.conversation_id.as_deref().unwrap_or_default();
        let span = CallSpan::begin(&ask.trace, provider, ask.model(), conversation);
        Self { records: records.clone(), begun: Instant::now(), record: Some(record), span }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What the provider is told of the trace.
    pub(super) fn span(&self) -> &CallSpan {
        &self.span
    }

    /// It has got its place.
    pub(super) fn queued(&mut self) {
        let elapsed = self.elapsed();
        if let Some(record) = &mut self.record {
            record.queued_ms = elapsed;
        }
    }

    /// It is sent once more. Returns how often that makes.
    pub(super) fn attempt(&mut self) -> u32 {
        self.record.as_mut().map_or(0, |record| {
            record.attempts += 1;
            record.attempts
        })
    }

    /// The provider answered with this status.
    pub(super) fn answered(&mut self, status: u16) {
        let elapsed = self.elapsed();
        if let Some(record) = &mut self.record {
            record.http_status = Some(status);
            record.first_byte_ms = Some(elapsed);
        }
    }

    /// An event is about to be passed on.
    pub(super) fn saw(&mut self, event: &Event) {
        let elapsed = self.elapsed();
        let Some(record) = &mut self.record else { return };
        let says = event.kind.ends_with(".delta") || event.kind == "response.output_item.done";
        if says && record.first_token_ms.is_none() {
            record.first_token_ms = Some(elapsed);
        }
        match event.kind.as_str() {
            "response.completed" => {
                let usage = serde_json::from_str(&event.json)
                    .map(|Completed { response }| response.usage.unwrap_or_default())
                    .unwrap_or_default();
                record.input_tokens = usage.input_tokens;
                record.cached_input_tokens =
                    usage.input_tokens_details.and_then(|details| details.cached_tokens);
                record.output_tokens = usage.output_tokens;
                record.reasoning_tokens =
                    usage.output_tokens_details.and_then(|details| details.reasoning_tokens);
                self.end(Status::Completed, None);
            }
            "response.incomplete" => self.failed("incomplete"),
            _ => {}
        }
    }

    /// It came to nothing.
    pub(super) fn failed(&mut self, code: &str) {
        self.end(Status::Failed, Some(code));
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
        self.records.add(record);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end(Status::Dropped, None);
    }
}

/// What is read of `response.completed`.
#[derive(Deserialize)]
struct Completed {
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    usage: Option<Usage>,
}

#[derive(Default, Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}
