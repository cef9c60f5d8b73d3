//! [`EventReader`]: a cursor over a conversation's log with heartbeats, an end, and a notice when
//! the process drains. A stream cannot fail, it can only end.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::span::StreamSpan;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::conversation::id::TurnId;
use crate::conversation::log::Cursor;
use crate::conversation::log::Entry;
use crate::conversation::log::Read;
use crate::conversation::report::TurnReport;

/// One item of a stream.
#[derive(Debug)]
pub enum Item {
    /// The next events; one or more.
    Events(Vec<Entry>),
    /// A notice of the gateway, not part of the log.
    Notice(Notice),
    /// A sign of life after a pause.
    Heartbeat,
}

/// A notice of the gateway. Its `seq` is that of the last event before it, so that a client resumes
/// from it without a gap.
#[derive(Debug)]
pub struct Notice {
    /// The last event before it.
    pub seq: Seq,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The kind.
    pub kind: NoticeKind,
}

/// The kind of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// Events are missing: they were dropped before this reader read them.
    Lagged {
        /// The number of missing events.
        missed: u64,
    },
    /// The process drains. The client resumes from here with another one.
    Draining,
}

impl Notice {
    /// `msg.type`
    pub fn event_type(&self) -> &'static str {
        match self.kind {
            NoticeKind::Lagged { .. } => "gateway_lagged",
            NoticeKind::Draining => "gateway_draining",
        }
    }

    /// The wire event, with its line feed.
    pub fn line(&self) -> String {
        let members = match self.kind {
            NoticeKind::Lagged { missed } => format!(r#","missed":{missed}"#),
            NoticeKind::Draining => r#","message":"the gateway is shutting down""#.to_owned(),
        };
        format!(
            "{{\"seq\":{},\"conversation_id\":\"{}\",\"id\":\"\",\"msg\":{{\"type\":\"{}\"{members}}}}}\n",
            self.seq,
            self.conversation_id,
            self.event_type()
        )
    }
}

/// The end of a stream.
#[derive(Debug, Clone)]
pub enum StreamEnd {
    /// The last event of a turn. It comes even if the process drains, which interrupts the turn.
    Turn(TurnId, watch::Receiver<Option<Arc<TurnReport>>>),
    /// The newest event at the time of reading.
    CaughtUp,
    /// None before the conversation ends or the process drains.
    Never,
}

impl StreamEnd {
    /// The end of a turn.
    pub fn end_of(turn: &Turn) -> Self {
        Self::Turn(turn.id.clone(), turn.report_receiver())
    }

    /// The position of the turn's last event.
    fn position(&self, entries: &[Entry]) -> Option<usize> {
        match self {
            Self::Turn(turn, _) => {
                entries.iter().position(|entry| entry.ends.as_ref() == Some(turn))
            }
            Self::CaughtUp | Self::Never => None,
        }
    }

    /// Whether the end lies at or before `seq`. A reader that missed a turn's last event recognises
    /// the end by its number.
    fn is_past(&self, seq: Seq) -> bool {
        match self {
            Self::Turn(_, report) => {
                report.borrow().as_ref().is_some_and(|report| seq >= report.end_seq)
            }
            Self::CaughtUp | Self::Never => false,
        }
    }
}

/// The options of a reader.
#[derive(Debug)]
pub struct ReadOptions {
    /// The position in the log.
    pub cursor: Cursor,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The end of the stream.
    pub until: StreamEnd,
    /// Whether to include the events that carry the system prompt, if the log keeps them.
    pub raw: bool,
    /// The pause before a heartbeat.
    pub heartbeat: Duration,
    /// Cancelled when the process drains.
    pub drain: CancellationToken,
    /// The metrics of the stream.
    pub(crate) span: StreamSpan,
}

/// Reads a conversation's events to an end.
#[derive(Debug)]
pub struct EventReader {
    options: ReadOptions,
    ended: bool,
}

impl EventReader {
    /// A reader with these options.
    pub fn new(options: ReadOptions) -> Self {
        Self { options, ended: false }
    }

    /// The next item, or `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Item> {
        while !self.ended {
            match self.options.cursor.read() {
                Read::Events(entries) => {
                    if let Some(events) = self.filter(entries) {
                        return Some(events);
                    }
                }
                Read::Lagged { missed } => {
                    self.options.span.lost(missed);
                    return Some(self.notice(NoticeKind::Lagged { missed }));
                }
                Read::Ended => self.ended = true,
                Read::Pending => {
                    if let Some(item) = self.wait().await {
                        return Some(item);
                    }
                }
            }
        }
        None
    }

    /// The items as a stream.
    pub fn into_stream(mut self) -> impl Stream<Item = Item> + Send + 'static {
        async_stream::stream! {
            while let Some(item) = self.next().await {
                yield item;
            }
        }
    }

    /// Removes the events behind the end and those that the client must not receive. Returns `None`
    /// if no event is left.
    fn filter(&mut self, mut entries: Vec<Entry>) -> Option<Item> {
        let ReadOptions { cursor, until, raw, span, .. } = &mut self.options;
        let end = until.position(&entries);
        if let Some(end) = end {
            entries.truncate(end + 1);
        }
        self.ended = end.is_some() || until.is_past(cursor.after());
        if !*raw {
            entries.retain(|entry| !entry.is_raw());
        }
        if entries.is_empty() {
            return None;
        }
        span.events(&entries, cursor.behind());
        Some(Item::Events(entries))
    }

    /// Waits for the next event. Returns another item that comes first.
    async fn wait(&mut self) -> Option<Item> {
        let ReadOptions { cursor, until, heartbeat, drain, .. } = &mut self.options;
        let (caught_up, endless) = match until {
            StreamEnd::Turn(..) => (false, false),
            StreamEnd::CaughtUp => (true, false),
            StreamEnd::Never => (false, true),
        };
        if caught_up {
            self.ended = true;
            return None;
        }
        tokio::select! {
            () = cursor.changed() => {
                // Events come in bursts. The pump finishes its burst first, and one write carries
                // it.
                tokio::task::yield_now().await;
                None
            }
            () = tokio::time::sleep(*heartbeat) => Some(Item::Heartbeat),
            () = drain.cancelled(), if endless => {
                self.ended = true;
                Some(self.notice(NoticeKind::Draining))
            }
        }
    }

    fn notice(&self, kind: NoticeKind) -> Item {
        let ReadOptions { cursor, conversation_id, .. } = &self.options;
        let conversation_id = conversation_id.clone();
        Item::Notice(Notice { seq: cursor.after(), conversation_id, kind })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::StreamExt;

    use super::*;
    use crate::conversation::event_budget::EventBudget;
    use crate::conversation::log::EventLog;
    use crate::conversation::report::Output;
    use crate::conversation::report::TurnStatus;

    fn reader(log: &Arc<EventLog>, until: StreamEnd, drain: &CancellationToken) -> EventReader {
        EventReader::new(ReadOptions {
            cursor: log.cursor(0),
            conversation_id: ConversationId::new("c"),
            until,
            raw: false,
            heartbeat: Duration::from_secs(15),
            drain: drain.clone(),
            span: StreamSpan::default(),
        })
    }

    fn log(limit: usize) -> Arc<EventLog> {
        EventLog::new(&ConversationId::new("c"), limit, &EventBudget::new(usize::MAX))
    }

    fn seqs(item: Option<Item>) -> Vec<Seq> {
        let Some(Item::Events(entries)) = item else { panic!("expected events: {item:?}") };
        entries.iter().map(|entry| entry.seq).collect()
    }

    fn report(turn: &str, end_seq: Seq) -> TurnReport {
        TurnReport {
            turn_id: turn.into(),
            status: TurnStatus::Completed,
            message: String::new(),
            error: None,
            files: BTreeMap::new(),
            stdout: Output::default(),
            stderr: Output::default(),
            steps: 0,
            review: None,
            usage: None,
            duration_ms: 0,
            end_seq,
        }
    }

    const EVENT: &[u8] = br#"{"id":"t","msg":{"type":"x"}}"#;

    #[tokio::test(start_paused = true)]
    async fn silent_stream_beats_and_announces_drain() {
        let drain = CancellationToken::new();
        let mut reader = reader(&log(1 << 20), StreamEnd::Never, &drain);
        assert!(matches!(reader.next().await, Some(Item::Heartbeat)));
        drain.cancel();
        let Some(Item::Notice(notice)) = reader.next().await else { panic!("expected a notice") };
        assert_eq!(notice.event_type(), "gateway_draining");
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn turns_stream_ends_with_its_last_event() {
        let log = log(1 << 20);
        log.append(EVENT, None);
        log.append(EVENT, Some("t".into()));
        log.append(EVENT, None);
        let until = StreamEnd::Turn("t".into(), watch::channel(None).1);
        let reader = reader(&log, until, &CancellationToken::new());
        let mut items: Vec<_> = reader.into_stream().collect().await;
        assert_eq!(items.len(), 1);
        assert_eq!(seqs(items.pop()), [1, 2]);
    }

    #[tokio::test]
    async fn caught_up_stream_ends_at_once() {
        let log = log(1 << 20);
        log.append(EVENT, None);
        let mut reader = reader(&log, StreamEnd::CaughtUp, &CancellationToken::new());
        assert_eq!(seqs(reader.next().await), [1]);
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn late_reader_learns_how_much_it_missed() {
        let log = log(1);
        for _ in 0..5 {
            log.append(EVENT, None);
        }
        let mut reader = reader(&log, StreamEnd::CaughtUp, &CancellationToken::new());
        let Some(Item::Notice(notice)) = reader.next().await else { panic!("expected a notice") };
        assert_eq!((notice.seq, notice.kind), (4, NoticeKind::Lagged { missed: 4 }));
        assert_eq!(seqs(reader.next().await), [5]);
    }

    #[tokio::test]
    async fn lagging_turns_stream_still_ends() {
        let log = log(1);
        log.append(EVENT, Some("t".into()));
        log.append(EVENT, None);
        let (sender, reports) = watch::channel(None);
        sender.send_replace(Some(Arc::new(report("t", 1))));
        let until = StreamEnd::Turn("t".into(), reports);
        let mut reader = reader(&log, until, &CancellationToken::new());
        assert!(matches!(reader.next().await, Some(Item::Notice(_))));
        assert_eq!(seqs(reader.next().await), [2]);
        assert!(reader.next().await.is_none());
    }
}
