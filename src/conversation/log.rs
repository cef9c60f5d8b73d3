//! The numbered log of a conversation's events.
//!
//! Not a broadcast: an event is encoded once, then numbered, kept and announced under one short
//! lock. Readers are [`Cursor`]s, so replay, resume, fan-out and lag are one operation: *read from
//! n*. The log is bounded in bytes; a cursor that asks for dropped events learns how many it
//! missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::MutexGuard;

use bytes::Bytes;
use tokio::sync::watch;

use super::event_budget::EventBudget;
use super::id::ConversationId;
use super::id::Seq;
use super::id::TurnId;
use crate::sync::Mutex;

/// Bytes that a cursor takes at a time: enough to fill a socket's buffer, few enough to be fair.
const READ_BYTES: usize = 64 * 1024;

/// One event, encoded.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its sequence number.
    pub seq: Seq,
    /// `{"seq":…,"conversation_id":…,"id":…,"msg":{"type":…}}` and a line feed.
    pub line: Bytes,
    /// The range of the value of `msg.type` in `line`.
    kind: (u32, u32),
    /// The turn that this event ends.
    pub ends: Option<TurnId>,
}

impl Entry {
    /// `msg.type`.
    pub fn kind(&self) -> &str {
        let (start, end) = (self.kind.0 as usize, self.kind.1 as usize);
        self.line
            .get(start..end)
            .and_then(|kind| std::str::from_utf8(kind).ok())
            .unwrap_or_default()
    }

    /// `msg`, as JSON.
    pub fn msg(&self) -> &[u8] {
        // `{"type":"` lies before the kind; `}` and the line feed close the envelope.
        let start = (self.kind.0 as usize).saturating_sub(MSG_OPEN.len() - MSG_KEY.len());
        self.line.get(start..self.line.len().saturating_sub(2)).unwrap_or_default()
    }

    /// The members of `msg` but its type, with the closing brace: `"message":"…"}`.
    pub fn members(&self) -> &[u8] {
        let rest = self.line.get(self.kind.1 as usize + 1..self.line.len().saturating_sub(2));
        let rest = rest.unwrap_or_default();
        rest.strip_prefix(b",").unwrap_or(rest)
    }

    /// Whether it carries the system prompt.
    pub fn is_raw(&self) -> bool {
        self.kind().starts_with("raw_response_")
    }

    /// Whether it is a piece of a later event.
    pub fn is_delta(&self) -> bool {
        self.kind().ends_with("_delta")
    }
}

const MSG_KEY: &str = r#""msg":"#;
const MSG_OPEN: &str = r#""msg":{"type":""#;

/// The bytes that an event takes in memory beside its line.
const ENTRY_OVERHEAD: usize = 128;

/// The event log of a conversation.
#[derive(Debug)]
pub struct EventLog {
    prefix: String,
    limit: usize,
    budget: Arc<EventBudget>,
    kept: Mutex<Kept>,
    last: watch::Sender<Seq>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// No event follows.
    complete: bool,
}

impl EventLog {
    /// An empty log that keeps about `limit` bytes, and always the newest event. All logs together
    /// keep what `budget` allows.
    pub fn new(
        conversation: &ConversationId,
        limit: usize,
        budget: &Arc<EventBudget>,
    ) -> Arc<Self> {
        Arc::new(Self {
            prefix: format!(r#","conversation_id":"{conversation}","#),
            limit,
            budget: Arc::clone(budget),
            kept: Mutex::default(),
            last: watch::Sender::new(0),
        })
    }

    /// Numbers and keeps an event, given as `{"id":…,"msg":{"type":…}}`, and wakes the readers.
    pub fn append(&self, event: &[u8], ends: Option<TurnId>) -> Seq {
        let mut kept = self.lock();
        let seq = *self.last.borrow() + 1;
        let entry = self.entry(seq, event, ends);
        kept.bytes += entry.line.len();
        let mut over_budget = self.budget.add(entry.line.len() + ENTRY_OVERHEAD);
        kept.entries.push_back(entry);
        while (kept.bytes > self.limit || over_budget) && kept.entries.len() > 1 {
            over_budget = self.drop_first(&mut kept).1;
        }
        self.last.send_replace(seq);
        seq
    }

    /// Drops the oldest events until this many bytes are free, but for the newest event.
    pub(super) fn drop_oldest(&self, bytes: usize) {
        let mut kept = self.lock();
        let mut freed = 0;
        while freed < bytes && kept.entries.len() > 1 {
            freed += self.drop_first(&mut kept).0;
        }
    }

    /// Drops the oldest event. Returns its bytes, and whether the budget is still far exceeded.
    fn drop_first(&self, kept: &mut Kept) -> (usize, bool) {
        let Some(gone) = kept.entries.pop_front() else { return (0, false) };
        kept.bytes -= gone.line.len();
        // A queue that was long keeps its memory otherwise.
        if kept.entries.len() < kept.entries.capacity() / 4 {
            kept.entries.shrink_to(kept.entries.len() * 2);
        }
        let bytes = gone.line.len() + ENTRY_OVERHEAD;
        (bytes, self.budget.remove(bytes))
    }

    fn entry(&self, seq: Seq, event: &[u8], ends: Option<TurnId>) -> Entry {
        use std::io::Write;

        let body = event.strip_prefix(b"{").unwrap_or(event);
        let mut line = Vec::with_capacity(self.prefix.len() + body.len() + 32);
        // Writing to a Vec cannot fail.
        let _ = write!(line, r#"{{"seq":{seq}{}"#, self.prefix);
        let body_at = line.len();
        line.extend_from_slice(body);
        line.push(b'\n');
        let start = find(body, MSG_OPEN.as_bytes()).map_or(0, |at| body_at + at + MSG_OPEN.len());
        let length = line.get(start..).and_then(|rest| rest.iter().position(|byte| *byte == b'"'));
        let kind = (start as u32, (start + length.unwrap_or(0)) as u32);
        Entry { seq, line: line.into(), kind, ends }
    }

    /// The seq of the newest event; 0 before the first.
    pub fn last_seq(&self) -> Seq {
        *self.last.borrow()
    }

    /// The seq of the oldest kept event.
    pub fn oldest_seq(&self) -> Seq {
        self.lock().entries.front().map_or(1, |entry| entry.seq)
    }

    /// The size of the kept events in bytes.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Completes the log. Readers end when they have read the kept events.
    pub fn complete(&self) {
        self.lock().complete = true;
        self.last.send_modify(|_| {});
    }

    /// A reader of the events after `after`.
    pub fn cursor(self: &Arc<Self>, after: Seq) -> Cursor {
        Cursor { log: Arc::clone(self), after, wake: self.last.subscribe() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock()
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        let kept = self.kept.get_mut();
        self.budget.remove(kept.bytes + kept.entries.len() * ENTRY_OVERHEAD);
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A position in a log.
#[derive(Debug)]
pub struct Cursor {
    log: Arc<EventLog>,
    after: Seq,
    wake: watch::Receiver<Seq>,
}

/// The result of a read.
#[derive(Debug)]
pub enum Read {
    /// The next events.
    Events(Vec<Entry>),
    /// The next events were dropped. The next read begins with the oldest kept one.
    Lagged {
        /// The number of dropped events.
        missed: u64,
    },
    /// No event yet.
    Pending,
    /// No event follows.
    Ended,
}

impl Cursor {
    /// The seq of the last event read.
    pub fn after(&self) -> Seq {
        self.after
    }

    /// The number of events after the last one read.
    pub fn behind(&self) -> u64 {
        self.log.last_seq().saturating_sub(self.after)
    }

    /// Reads the next events, without waiting.
    pub fn read(&mut self) -> Read {
        self.wake.mark_unchanged();
        let kept = self.log.lock();
        let oldest = kept.entries.front().map_or(self.after + 1, |entry| entry.seq);
        if oldest > self.after + 1 {
            let missed = oldest - self.after - 1;
            self.after = oldest - 1;
            return Read::Lagged { missed };
        }
        let skip = usize::try_from(self.after + 1 - oldest).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let entries: Vec<Entry> = kept
            .entries
            .iter()
            .skip(skip)
            .take_while(|entry| {
                let fits = bytes < READ_BYTES;
                bytes += entry.line.len();
                fits
            })
            .cloned()
            .collect();
        match entries.last() {
            Some(last) => {
                self.after = last.seq;
                Read::Events(entries)
            }
            None if kept.complete => Read::Ended,
            None => Read::Pending,
        }
    }

    /// Waits until there may be something to read.
    pub async fn changed(&mut self) {
        // The log lives as long as this cursor, so the sender does too.
        let _ = self.wake.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limit: usize) -> Arc<EventLog> {
        EventLog::new(&ConversationId::new("c1"), limit, &EventBudget::new(usize::MAX))
    }

    fn event(text: &str) -> Vec<u8> {
        format!(r#"{{"id":"t1","msg":{{"type":"agent_message","message":"{text}"}}}}"#).into_bytes()
    }

    #[test]
    fn event_is_cores_json_with_two_fields() {
        let log = log(1 << 20);
        log.append(&event("hi"), None);
        log.append(br#"{"id":"","msg":{"type":"shutdown_complete"}}"#, None);
        let Read::Events(entries) = log.cursor(0).read() else { panic!("expected events") };
        assert_eq!(
            entries[0].line,
            concat!(
                r#"{"seq":1,"conversation_id":"c1","id":"t1","#,
                r#""msg":{"type":"agent_message","message":"hi"}}"#,
                "\n"
            )
        );
        assert_eq!(entries[0].kind(), "agent_message");
        assert_eq!(entries[0].msg(), br#"{"type":"agent_message","message":"hi"}"#);
        assert_eq!(entries[0].members(), br#""message":"hi"}"#);
        assert_eq!(entries[1].kind(), "shutdown_complete");
        assert_eq!(entries[1].members(), b"}");
    }

    #[test]
    fn late_reader_learns_how_much_it_missed() {
        let log = log(4 * 120);
        for n in 0..100 {
            log.append(&event(&n.to_string()), None);
        }
        let mut cursor = log.cursor(0);
        let Read::Lagged { missed } = cursor.read() else { panic!("expected a gap") };
        let Read::Events(entries) = cursor.read() else { panic!("expected events") };
        assert_eq!(entries[0].seq, missed + 1);
        assert_eq!(entries.last().unwrap().seq, 100);
        assert_eq!(log.oldest_seq(), missed + 1);
        assert!(log.bytes() <= 4 * 120);
    }

    #[test]
    fn logs_share_a_budget() {
        let budget = EventBudget::new(100 * (ENTRY_OVERHEAD + 100));
        let logs = ["a", "b"].map(|id| EventLog::new(&ConversationId::new(id), 1 << 20, &budget));
        for log in &logs {
            for _ in 0..200 {
                log.append(&event("x"), None);
            }
        }
        // No task drops events here: the second log makes room by itself, and keeps its newest.
        let kept = logs.each_ref().map(|log| log.lock().entries.len());
        assert!(kept[0] > 80 && kept[1] == 1, "{kept:?}");
        assert_eq!(logs[1].last_seq(), 200);
        logs[0].drop_oldest(1000);
        assert!(logs[0].lock().entries.len() < kept[0]);
        let [first, second] = logs;
        drop(first);
        for _ in 0..50 {
            second.append(&event("x"), None);
        }
        assert_eq!(second.lock().entries.len(), 51, "the room of a dropped log is free");
    }

    #[tokio::test]
    async fn every_reader_gets_every_event_in_order() {
        let log = log(1 << 20);
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let mut cursor = log.cursor(0);
                async move {
                    let mut seen = Vec::new();
                    loop {
                        match cursor.read() {
                            Read::Events(entries) => seen.extend(entries.iter().map(|e| e.seq)),
                            Read::Pending => cursor.changed().await,
                            Read::Ended => return seen,
                            Read::Lagged { missed } => panic!("missed {missed}"),
                        }
                    }
                }
            })
            .collect();
        let writer = async {
            for n in 0..1000 {
                log.append(&event(&n.to_string()), None);
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            log.complete();
        };
        let (seen, ()) = tokio::join!(futures::future::join_all(readers), writer);
        let expected: Vec<Seq> = (1..=1000).collect();
        assert!(seen.iter().all(|seen| *seen == expected));
    }
}
