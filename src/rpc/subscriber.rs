//! `conversation.subscribe` and `conversation.unsubscribe`: the events of a conversation as
//! notifications, replayed from any number on and then live, without a gap or a repeat.
//!
//! A subscription is a cursor over the conversation's log, so a client that reads slowly holds
//! nothing up: what it comes too late for is announced by a `gateway_lagged` event.

use std::sync::Arc;

use bytes::BytesMut;
use futures::StreamExt;
use hyper_tungstenite::tungstenite::Utf8Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ws::MAX_SUBSCRIPTIONS;
use super::ws::Socket;
use crate::app::App;
use crate::conversation::Conversation;
use crate::conversation::id::ConversationId;
use crate::conversation::id::Seq;
use crate::error::Error;
use crate::error::Kind;
use crate::stream;
use crate::stream::Item;
use crate::stream::StreamEnd;
use crate::ws::outbox::Closed;
use crate::ws::outbox::Gate;

/// Which of a conversation's events a client wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Those after this one.
    pub(crate) after: Seq,
    /// Also the pieces of what a later event holds whole.
    pub(crate) deltas: bool,
    /// Also those that carry the system prompt.
    pub(crate) raw: bool,
}

impl Socket {
    /// Follows a conversation; an earlier subscription to it ends. The task is to be run once the
    /// subscription has been confirmed.
    ///
    /// # Errors
    /// `Overloaded` where the socket follows too many.
    pub(crate) fn subscribe(
        &self,
        app: &App,
        conversation: &Arc<Conversation>,
        wanted: Wanted,
    ) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
        let following = Following::default();
        {
            let mut subscriptions = self.subscriptions();
            subscriptions.retain(|_, following| !following.end.is_cancelled());
            let id = conversation.id();
            if subscriptions.len() >= MAX_SUBSCRIPTIONS && !subscriptions.contains_key(id) {
                return Err(Error::new(
                    Kind::Overloaded,
                    format!("expected at most {MAX_SUBSCRIPTIONS} subscriptions on one socket"),
                ));
            }
            if let Some(earlier) = subscriptions.insert(id.clone(), following.clone()) {
                earlier.stop();
            }
        }
        let reading = app.reading(conversation, wanted.after, StreamEnd::Never, wanted.raw);
        let (socket, counted) = (self.clone(), app.stream_guard());
        let conversation = Arc::clone(conversation);
        Ok(async move {
            let items = stream::events(reading);
            tokio::select! {
                _ = follow(&socket, &following.gate, &conversation, items, wanted.deltas) => {}
                () = following.end.cancelled() => {}
            }
            following.end.cancel();
            drop(counted);
        })
    }

    /// Stops following a conversation. Says whether it was followed.
    pub(crate) fn unsubscribe(&self, id: &ConversationId) -> bool {
        let Some(following) = self.subscriptions().remove(id) else { return false };
        let followed = !following.end.is_cancelled();
        following.stop();
        followed
    }
}

/// A subscription, as its socket knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Following {
    /// It has ended, or is to end.
    end: CancellationToken,
    gate: Arc<Gate>,
}

impl Following {
    /// Whatever answers the call that says so comes behind the last event.
    fn stop(&self) {
        self.end.cancel();
        self.gate.shut();
    }
}

async fn follow(
    socket: &Socket,
    gate: &Gate,
    conversation: &Conversation,
    items: impl futures::Stream<Item = Item>,
    deltas: bool,
) -> Result<(), Closed> {
    let send = async |message: Utf8Bytes| socket.outbox.send_through(gate, message).await;
    let mut items = std::pin::pin!(items);
    while let Some(item) = items.next().await {
        match item {
            Item::Events(entries) => {
                for entry in entries.iter().filter(|entry| deltas || !entry.is_delta()) {
                    send(notification(&entry.line)).await?;
                    let ending = entry.ends.as_ref().and_then(|turn| conversation.ending(turn));
                    if let Some(ending) = ending {
                        let message = json!({
                            "type": "task_completed",
                            "session_id": conversation.session_id(),
                            "conversation_id": conversation.id(),
                            "turn_id": &*ending.turn_id,
                            "status": ending.status,
                            "summary": ending.summary,
                            "files_created": ending.files_created,
                        });
                        send(message.to_string().into()).await?;
                    }
                }
            }
            Item::Notice(own) => {
                send(notification(own.line().as_bytes())).await?;
            }
            // The socket has pings of its own.
            Item::Heartbeat => {}
        }
    }
    Ok(())
}

/// A wire event, a line, as a notification.
fn notification(line: &[u8]) -> Utf8Bytes {
    const HEAD: &[u8] = br#"{"jsonrpc":"2.0","method":"conversation.event","params":"#;
    let event = line.strip_suffix(b"\n").unwrap_or(line);
    let mut message = BytesMut::with_capacity(HEAD.len() + event.len() + 1);
    message.extend_from_slice(HEAD);
    message.extend_from_slice(event);
    message.extend_from_slice(b"}");
    Utf8Bytes::try_from(message.freeze()).expect("a wire event is JSON, which is UTF-8")
}
