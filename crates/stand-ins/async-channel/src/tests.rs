//! Ordering, back-pressure, closing and cancellation, with any number of senders and receivers.

use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn last_sender_closes_after_its_messages() {
    let (sender, receiver) = unbounded();
    let other = sender.clone();
    sender.send(1).await.unwrap();
    drop(sender);
    other.send(2).await.unwrap();
    drop(other);
    assert_eq!(receiver.recv().await, Ok(1));
    assert_eq!(receiver.recv().await, Ok(2));
    assert_eq!(receiver.recv().await, Err(RecvError));
}

#[tokio::test]
async fn full_channel_makes_senders_wait() {
    let (sender, receiver) = bounded(1);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    let mut sending = Box::pin(sender.send(2));
    assert!(sending.as_mut().now_or_never().is_none());
    assert_eq!(receiver.recv().await, Ok(1));
    sending.await.unwrap();
    assert_eq!(receiver.recv().await, Ok(2));
    assert!(receiver.recv().now_or_never().is_none());
}

#[tokio::test]
async fn last_receiver_wakes_waiting_senders() {
    let (sender, receiver) = bounded(1);
    let other = receiver.clone();
    sender.send(1).await.unwrap();
    let mut sending = Box::pin(sender.send(2));
    let mut closed = Box::pin(sender.closed());
    drop(receiver);
    assert!(sending.as_mut().now_or_never().is_none());
    assert!(closed.as_mut().now_or_never().is_none());
    assert!(!sender.is_closed());
    drop(other);
    assert!(sender.is_closed());
    assert_eq!(sending.await, Err(SendError(2)));
    assert_eq!(sender.try_send(2), Err(TrySendError::Closed(2)));
    closed.await;
    sender.closed().await;
}

#[tokio::test]
async fn last_sender_wakes_waiting_receivers() {
    let (sender, receiver) = unbounded::<()>();
    let mut receiving = Box::pin(receiver.recv());
    assert!(receiving.as_mut().now_or_never().is_none());
    drop(sender);
    assert_eq!(receiving.await, Err(RecvError));
}

/// A notified receiver that is dropped must pass its notification on.
#[tokio::test]
async fn cancelled_receiver_loses_no_message() {
    let (sender, receiver) = unbounded();
    let other = receiver.clone();
    let (mut first, mut second) = (Box::pin(receiver.recv()), Box::pin(other.recv()));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    sender.send(1).await.unwrap();
    drop(first);
    assert_eq!(second.await, Ok(1));
}

#[tokio::test]
async fn receiver_is_a_stream() {
    let (sender, receiver) = bounded(2);
    let sending = async move {
        for n in 0..100 {
            sender.send(n).await.unwrap();
        }
    };
    let (received, ()) = tokio::join!(receiver.collect::<Vec<_>>(), sending);
    assert_eq!(received, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn drained_queue_releases_its_memory() {
    let (sender, receiver) = bounded(512);
    let capacity = || sender.side.channel.lock().queue.capacity();
    assert_eq!(capacity(), 0);
    for n in 0..512 {
        sender.send([n; 64]).await.unwrap();
    }
    while receiver.recv().now_or_never().is_some() {}
    assert!(capacity() <= RETAINED_CAPACITY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_message_is_received_once() {
    let (sender, receiver) = bounded(3);
    let mut tasks = JoinSet::new();
    for first in (0..4000).step_by(1000) {
        let sender = sender.clone();
        tasks.spawn(async move {
            for n in first..first + 1000 {
                sender.send(n).await.unwrap();
            }
            Vec::new()
        });
        let receiver = receiver.clone();
        tasks.spawn(async move { receiver.collect::<Vec<i32>>().await });
    }
    drop((sender, receiver));
    let all = tokio::time::timeout(Duration::from_secs(30), tasks.join_all()).await.unwrap();
    let mut received = all.concat();
    received.sort_unstable();
    assert_eq!(received, (0..4000).collect::<Vec<i32>>());
}
