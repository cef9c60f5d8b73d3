//! What model calls were: one [`CallRecord`] each, written when the call ends, however it ends.
//! [`Records`] keeps the newest and hands them to whoever listens.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use serde::Serialize;
use serde::Serializer;
use tokio::sync::broadcast;

use crate::sync::Mutex;

/// How many records are kept; the oldest goes first.
const KEPT: usize = 4096;
/// How far a listener may be behind; then it is told how many it missed.
const UNHEARD: usize = 1024;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The model finished.
    Completed,
    /// The provider refused, could not be reached, or broke off.
    Failed,
    /// Nobody wanted it any longer: its turn was stopped.
    Dropped,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// One model call: one target asked, its own retries included. Times count from its start.
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// When core asked, or the target before this one had failed.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: DateTime<Utc>,
    /// The conversation (codex's thread id), where core says.
    pub conversation_id: Option<String>,
    /// The turn, where core says.
    pub turn_id: Option<String>,
    /// Who was asked.
    pub provider: String,
    /// For which model.
    pub model: String,
    /// How often the request was sent.
    pub attempts: u32,
    /// How long the call waited for a place.
    pub queued_ms: u64,
    /// Until the provider began to answer.
    pub first_byte_ms: Option<u64>,
    /// Until the model said something.
    pub first_token_ms: Option<u64>,
    /// Until the end.
    pub last_byte_ms: u64,
    /// Tokens that went in, where the provider says.
    pub input_tokens: Option<u64>,
    /// Of these, read from its cache.
    pub cached_input_tokens: Option<u64>,
    /// Tokens that came out.
    pub output_tokens: Option<u64>,
    /// Of these, thought.
    pub reasoning_tokens: Option<u64>,
    /// How it ended.
    pub status: Status,
    /// The last HTTP status, where there was one.
    pub http_status: Option<u16>,
    /// What failed, in a word.
    pub error_code: Option<String>,
}

fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The newest records of this process.
#[derive(Debug, Clone)]
pub struct Records {
    kept: Arc<Mutex<VecDeque<Arc<CallRecord>>>>,
    heard: broadcast::Sender<Arc<CallRecord>>,
}

impl Default for Records {
    fn default() -> Self {
        Self { kept: Arc::default(), heard: broadcast::Sender::new(UNHEARD) }
    }
}

impl Records {
    /// The newest `n` of a conversation, newest first.
    pub fn recent(&self, conversation_id: &str, n: usize) -> Vec<Arc<CallRecord>> {
        let kept = self.kept.lock();
        kept.iter()
            .rev()
            .filter(|record| record.conversation_id.as_deref() == Some(conversation_id))
            .take(n)
            .cloned()
            .collect()
    }

    /// The records from now on. A listener that falls behind is told how many it missed.
    pub fn listen(&self) -> broadcast::Receiver<Arc<CallRecord>> {
        self.heard.subscribe()
    }

    pub(super) fn add(&self, record: CallRecord) {
        let record = Arc::new(record);
        {
            let mut kept = self.kept.lock();
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(Arc::clone(&record));
        }
        // Nobody has to listen.
        drop(self.heard.send(record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(conversation: &str, attempts: u32) -> CallRecord {
        CallRecord {
            started_at: DateTime::UNIX_EPOCH,
            conversation_id: Some(conversation.to_owned()),
            turn_id: None,
            provider: "p".into(),
            model: "m".into(),
            attempts,
            queued_ms: 0,
            first_byte_ms: None,
            first_token_ms: None,
            last_byte_ms: 0,
            input_tokens: None,
            cached_input_tokens: None,
            output_tokens: None,
            reasoning_tokens: None,
            status: Status::Completed,
            http_status: Some(200),
            error_code: None,
        }
    }

    #[test]
    fn the_newest_of_a_conversation_come_first_and_the_oldest_go() {
        let records = Records::default();
        let mut heard = records.listen();
        for n in 0..5000 {
            records.add(record(if n % 2 == 0 { "even" } else { "odd" }, n));
        }
        let attempts = |conversation, n| -> Vec<u32> {
            records.recent(conversation, n).iter().map(|record| record.attempts).collect()
        };
        assert_eq!(attempts("even", 2), [4998, 4996]);
        assert_eq!(attempts("odd", 5000).len(), KEPT / 2);
        assert!(attempts("other", 1).is_empty());
        assert!(matches!(heard.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        let shown = serde_json::to_value(record("c", 1)).unwrap();
        assert_eq!(shown["started_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(shown["status"], "completed");
    }
}
