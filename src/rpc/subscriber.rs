//! The events of a conversation as notifications of a socket: replayed from any number on, then
//! live, without a gap or a repeat.
//!
//! A subscription is a cursor over the conversation's log, so a slow client holds up nothing. A
//! `gateway_lagged` event announces the events that it reads too late.

use std::sync::Arc;

use bytes::BytesMut;
use hyper_tungstenite::tungstenite::Utf8Bytes;
use serde_json::json;

use super::socket::Socket;
use super::socket::Subscription;
use crate::app::App;
use crate::conversation::Conversation;
use crate::conversation::id::Seq;
use crate::error::Error;
use crate::stream::EventReader;
use crate::stream::Item;
use crate::stream::StreamEnd;
use crate::ws::outbox::Closed;

/// The events that a client subscribes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubscribeOptions {
    /// The event to begin after.
    pub(super) after: Seq,
    /// Whether to send deltas, whose text a later event repeats.
    pub(super) deltas: bool,
    /// Whether to send the events that carry the system prompt.
    pub(super) raw: bool,
}

/// Subscribes a socket to a conversation; an earlier subscription to it ends. Run the task once the
/// call is answered.
///
/// # Errors
/// `Overloaded` if the socket has too many subscriptions.
pub(super) fn subscribe(
    socket: &Socket,
    app: &App,
    conversation: &Arc<Conversation>,
    options: SubscribeOptions,
) -> Result<impl Future<Output = ()> + Send + use<>, Error> {
    let subscription = socket.add_subscription(conversation.id())?;
    let reader = app.event_reader(conversation, options.after, StreamEnd::Never, options.raw);
    let (socket, counted) = (socket.clone(), app.stream_guard());
    let conversation = Arc::clone(conversation);
    Ok(async move {
        tokio::select! {
            _ = follow(&socket, &subscription, &conversation, reader, options.deltas) => {}
            () = subscription.end.cancelled() => {}
        }
        subscription.end.cancel();
        drop(counted);
    })
}

async fn follow(
    socket: &Socket,
    subscription: &Subscription,
    conversation: &Conversation,
    mut reader: EventReader,
    deltas: bool,
) -> Result<(), Closed> {
    let send =
        async |message: Utf8Bytes| socket.outbox().send_through(&subscription.gate, message).await;
    while let Some(item) = reader.next().await {
        match item {
            Item::Events(entries) => {
                for entry in entries.iter().filter(|entry| deltas || !entry.is_delta()) {
                    send(notification(&entry.line)).await?;
                    let summary =
                        entry.ends.as_ref().and_then(|turn| conversation.turn_summary(turn));
                    if let Some(summary) = summary {
                        let message = json!({
                            "type": "task_completed",
                            "session_id": conversation.session_id(),
                            "conversation_id": conversation.id(),
                            "turn_id": &*summary.turn_id,
                            "status": summary.status,
                            "summary": summary.summary,
                            "files_created": summary.files_created,
                        });
                        send(message.to_string().into()).await?;
                    }
                }
            }
            Item::Notice(notice) => {
                send(notification(notice.line().as_bytes())).await?;
            }
            // The connection sends pings of its own.
            Item::Heartbeat => {}
        }
    }
    Ok(())
}

/// Frames a wire event as a notification, without decoding it.
fn notification(line: &[u8]) -> Utf8Bytes {
    const HEAD: &[u8] = br#"{"jsonrpc":"2.0","method":"conversation.event","params":"#;
    let event = line.strip_suffix(b"\n").unwrap_or(line);
    let mut message = BytesMut::with_capacity(HEAD.len() + event.len() + 1);
    message.extend_from_slice(HEAD);
    message.extend_from_slice(event);
    message.extend_from_slice(b"}");
    Utf8Bytes::try_from(message.freeze()).expect("a wire event is JSON, which is UTF-8")
}
