//! Events on their way out.
//!
//! [`events`] is a cursor over a conversation's log with a heartbeat, an end, and a goodbye on
//! drain. The framings only frame: [`jsonl`], [`sse`], and [`task`] (the task view of the same
//! turn). A stream cannot fail, it can only end.

pub mod jsonl;
pub(crate) mod span;
pub mod sse;
pub mod task;

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::conversation::id::TurnId;
use crate::conversation::log::Cursor;
use crate::conversation::log::Entry;
use crate::conversation::log::Read;
use crate::conversation::report::Report;
use crate::stream::span::StreamSpan;

/// What a framing frames.
#[derive(Debug)]
pub enum Item {
    /// The next events; one or more.
    Events(Vec<Entry>),
    /// An event of the gateway's own, not part of the log.
    Notice(Notice),
    /// Nothing happened for a while.
    Heartbeat,
}

/// An event of the gateway's own. Its `seq` is that of the last event before it, so that a client
/// resumes from it without a gap.
#[derive(Debug)]
pub struct Notice {
    /// The last event before it.
    pub seq: Seq,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// What happened.
    pub what: NoticeKind,
}

/// What an event of the gateway's own says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// Events are missing here: they were gone before this reader came for them.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The process is going: resume from here at another.
    Draining,
}

impl Notice {
    /// `msg.type`.
    pub fn kind(&self) -> &'static str {
        match self.what {
            NoticeKind::Lagged { .. } => "gateway_lagged",
            NoticeKind::Draining => "gateway_draining",
        }
    }

    /// The wire event, with its line feed.
    pub fn line(&self) -> String {
        let members = match self.what {
            NoticeKind::Lagged { missed } => format!(r#","missed":{missed}"#),
            NoticeKind::Draining => r#","message":"the gateway is shutting down""#.to_owned(),
        };
        format!(
            "{{\"seq\":{},\"conversation_id\":\"{}\",\"id\":\"\",\"msg\":{{\"type\":\"{}\"{members}}}}}\n",
            self.seq,
            self.conversation_id,
            self.kind()
        )
    }
}

/// When a stream ends.
#[derive(Debug, Clone)]
pub enum StreamEnd {
    /// With the last event of a turn, which shutdown interrupts, so it comes.
    Turn(TurnId, watch::Receiver<Option<Arc<Report>>>),
    /// When it has caught up.
    CaughtUp,
    /// With the conversation, or the process.
    Never,
}

impl StreamEnd {
    /// The end of a turn.
    pub fn end_of(turn: &Turn) -> Self {
        Self::Turn(turn.id.clone(), turn.report_receiver())
    }

    /// Whether the end lies behind a place in the log. A reader that was too late for a turn's last
    /// event finds out by its number.
    fn is_past(&self, seq: Seq) -> bool {
        match self {
            Self::Turn(_, report) => {
                report.borrow().as_ref().is_some_and(|report| seq >= report.end_seq)
            }
            Self::CaughtUp | Self::Never => false,
        }
    }
}

/// What a reader wants.
#[derive(Debug)]
pub struct ReadOptions {
    /// From where.
    pub cursor: Cursor,
    /// Of which conversation.
    pub conversation_id: ConversationId,
    /// Until when.
    pub until: StreamEnd,
    /// Also the events that carry the system prompt, where the log has them.
    pub raw: bool,
    /// The pause after which a silent stream shows that it lives.
    pub heartbeat: Duration,
    /// The process is going.
    pub drain: CancellationToken,
    /// What operators see of it.
    pub(crate) span: StreamSpan,
}

/// The events that a reader wants, until they end.
pub fn events(reading: ReadOptions) -> impl Stream<Item = Item> + Send + 'static {
    let ReadOptions { mut cursor, conversation_id, until, raw, heartbeat, drain, mut span } =
        reading;
    async_stream::stream! {
        loop {
            match cursor.read() {
                Read::Events(mut entries) => {
                    let end = match &until {
                        StreamEnd::Turn(turn, _) => {
                            entries.iter().position(|entry| entry.ends.as_ref() == Some(turn))
                        }
                        StreamEnd::CaughtUp | StreamEnd::Never => None,
                    };
                    if let Some(end) = end {
                        entries.truncate(end + 1);
                    }
                    if !raw {
                        entries.retain(|entry| !entry.is_raw());
                    }
                    if !entries.is_empty() {
                        span.events(&entries, cursor.behind());
                        yield Item::Events(entries);
                    }
                    if end.is_some() {
                        return;
                    }
                    // Its last event was already gone, and others have come since.
                    if until.is_past(cursor.after()) {
                        return;
                    }
                }
                Read::Lagged { missed } => {
                    span.lost(missed);
                    let what = NoticeKind::Lagged { missed };
                    yield Item::Notice(Notice { seq: cursor.after(), conversation_id: conversation_id.clone(), what });
                }
                Read::Ended => return,
                Read::Pending if matches!(until, StreamEnd::CaughtUp) => return,
                Read::Pending => {
                    let goodbye = matches!(until, StreamEnd::Never);
                    tokio::select! {
                        // Events come in bursts: whoever runs first lets the pump finish its own, and
                        // one write carries them all.
                        () = cursor.changed() => tokio::task::yield_now().await,
                        () = tokio::time::sleep(heartbeat) => yield Item::Heartbeat,
                        () = drain.cancelled(), if goodbye => {
                            let what = NoticeKind::Draining;
                            yield Item::Notice(Notice { seq: cursor.after(), conversation_id, what });
                            return;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::conversation::log::EventLog;

    fn reading(
        log: &std::sync::Arc<EventLog>,
        conversation_id: ConversationId,
        until: StreamEnd,
        drain: &CancellationToken,
    ) -> ReadOptions {
        ReadOptions {
            cursor: log.cursor(0),
            conversation_id,
            until,
            raw: false,
            heartbeat: Duration::from_secs(15),
            drain: drain.clone(),
            span: StreamSpan::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_beats_and_says_goodbye_when_the_process_drains() {
        let id = ConversationId::new("c");
        let log = EventLog::new(&id, 1 << 20);
        let drain = CancellationToken::new();
        let stream = events(reading(&log, id, StreamEnd::Never, &drain));
        let mut stream = std::pin::pin!(stream);
        assert!(matches!(stream.next().await, Some(Item::Heartbeat)));
        drain.cancel();
        let Some(Item::Notice(notice)) = stream.next().await else { panic!("expected a goodbye") };
        assert_eq!(notice.kind(), "gateway_draining");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_turns_stream_ends_with_its_last_event() {
        let id = ConversationId::new("c");
        let log = EventLog::new(&id, 1 << 20);
        let event = br#"{"id":"t","msg":{"type":"x"}}"#;
        log.append(event, None);
        log.append(event, Some("t".into()));
        log.append(event, None);
        let until = StreamEnd::Turn("t".into(), watch::channel(None).1);
        let stream = events(reading(&log, id, until, &CancellationToken::new()));
        let items: Vec<_> = stream.collect().await;
        let [Item::Events(entries)] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    }
}
