//! The log of finished model calls: one [`CallRecord`] each, written when the call ends, however it
//! ends. [`CallLog`] keeps the newest and broadcasts them.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;
use serde::Serializer;
use tokio::sync::broadcast;

use crate::sync::Mutex;
use crate::text;

/// Records kept; the oldest are dropped first.
const MAX_RECORDS: usize = 4096;
/// Records that a listener may lag behind before it misses some.
const MAX_LAG: usize = 1024;

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CallStatus")]
pub enum Status {
    /// The model finished.
    Completed,
    /// The provider rejected the call, could not be reached, or broke off.
    Failed,
    /// The call was cancelled with its turn.
    Dropped,
}

impl Status {
    /// The value on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// One model call: one candidate called, its own retries included. Times count from its start.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CallRecord {
    /// The time of core's request, or of the failure of the candidate before.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: DateTime<Utc>,
    /// The conversation (codex's thread id), if core names it.
    #[schemars(extend("format" = "uuid"))]
    pub conversation_id: Option<String>,
    /// The turn, if core names it.
    pub turn_id: Option<String>,
    /// The id of the provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The number of requests sent.
    pub attempts: u32,
    /// Milliseconds in the queue.
    pub queued_ms: u64,
    /// Milliseconds until the provider began to answer.
    pub first_byte_ms: Option<u64>,
    /// Milliseconds until the first content of the model.
    pub first_token_ms: Option<u64>,
    /// Milliseconds until the end.
    pub last_byte_ms: u64,
    /// Input tokens, if the provider reports them.
    pub input_tokens: Option<u64>,
    /// Input tokens read from the provider's cache.
    pub cached_input_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: Option<u64>,
    /// Output tokens spent on reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The outcome.
    pub status: Status,
    /// The last HTTP status, if there was one.
    pub http_status: Option<u16>,
    /// The code of the failure, one of a list that is the same for every provider.
    pub error_code: Option<String>,
    /// The failure in the provider's own words.
    pub error_message: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: Option<bool>,
}

fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text::rfc3339(*time))
}

/// The newest records of this process.
#[derive(Debug, Clone)]
pub struct CallLog {
    records: Arc<Mutex<VecDeque<Arc<CallRecord>>>>,
    listeners: broadcast::Sender<Arc<CallRecord>>,
}

impl Default for CallLog {
    fn default() -> Self {
        Self { records: Arc::default(), listeners: broadcast::Sender::new(MAX_LAG) }
    }
}

impl CallLog {
    /// Returns the newest `n` records of a conversation, newest first.
    pub fn recent(&self, conversation_id: &str, n: usize) -> Vec<Arc<CallRecord>> {
        let records = self.records.lock();
        records
            .iter()
            .rev()
            .filter(|record| record.conversation_id.as_deref() == Some(conversation_id))
            .take(n)
            .cloned()
            .collect()
    }

    /// Subscribes to the records from now on. A listener that lags learns how many it missed.
    pub fn listen(&self) -> broadcast::Receiver<Arc<CallRecord>> {
        self.listeners.subscribe()
    }

    pub(super) fn add(&self, record: CallRecord) {
        let record = Arc::new(record);
        {
            let mut records = self.records.lock();
            if records.len() == MAX_RECORDS {
                records.pop_front();
            }
            records.push_back(Arc::clone(&record));
        }
        // An error means that there is no listener.
        drop(self.listeners.send(record));
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
            error_message: None,
            retryable: None,
        }
    }

    #[test]
    fn newest_records_come_first_and_oldest_go() {
        let records = CallLog::default();
        let mut heard = records.listen();
        for n in 0..5000 {
            records.add(record(if n % 2 == 0 { "even" } else { "odd" }, n));
        }
        let attempts = |conversation, n| -> Vec<u32> {
            records.recent(conversation, n).iter().map(|record| record.attempts).collect()
        };
        assert_eq!(attempts("even", 2), [4998, 4996]);
        assert_eq!(attempts("odd", 5000).len(), MAX_RECORDS / 2);
        assert!(attempts("other", 1).is_empty());
        assert!(matches!(heard.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        let shown = serde_json::to_value(record("c", 1)).unwrap();
        assert_eq!(shown["started_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(shown["status"], "completed");
    }
}
