//! One record per model call, written when the call ends, however it ends.

use std::time::Duration;

use tokio::time::Instant;

use super::ask::Ask;
use super::backend::Event;

/// A call under way.
#[derive(Debug)]
pub(super) struct Record {
    provider: String,
    model: String,
    conversation: String,
    turn: String,
    begun: Instant,
    queued: Duration,
    attempts: u32,
    first_byte: Option<Duration>,
    first_token: Option<Duration>,
    status: Option<String>,
}

impl Record {
    pub(super) fn new(provider: &str, ask: &Ask) -> Self {
        Self {
            provider: provider.to_owned(),
            model: ask.model().to_owned(),
            conversation: ask.conversation_id.clone().unwrap_or_default(),
            turn: ask.turn_id.clone().unwrap_or_default(),
            begun: Instant::now(),
            queued: Duration::ZERO,
            attempts: 0,
            first_byte: None,
            first_token: None,
            status: None,
        }
    }

    /// It has got its place.
    pub(super) fn queued(&mut self) {
        self.queued = self.begun.elapsed();
    }

    /// It is sent once more. Returns how often that makes.
    pub(super) fn attempt(&mut self) -> u32 {
        self.attempts += 1;
        self.attempts
    }

    pub(super) fn first_byte(&mut self) {
        self.first_byte = Some(self.begun.elapsed());
    }

    pub(super) fn saw(&mut self, event: &Event) {
        if self.first_token.is_none() && event.kind.ends_with(".delta") {
            self.first_token = Some(self.begun.elapsed());
        }
    }

    pub(super) fn end(&mut self, status: &str) {
        self.status = Some(status.to_owned());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let millis = |time: Option<Duration>| time.map(|time| time.as_millis());
        tracing::info!(
            provider = self.provider,
            model = self.model,
            conversation = self.conversation,
            turn = self.turn,
            attempts = self.attempts,
            queued_ms = self.queued.as_millis(),
            first_byte_ms = millis(self.first_byte),
            first_token_ms = millis(self.first_token),
            took_ms = self.begun.elapsed().as_millis(),
            // A call that nobody ended was dropped: its turn was cancelled.
            status = self.status.as_deref().unwrap_or("dropped"),
            "model call"
        );
    }
}
