//! What senders and receivers of every number see.

use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn messages_come_in_order_until_the_last_sender_is_gone() {
    let (sender, receiver) = unbounded();
    let other = sender.clone();
    sender.send(1).await.unwrap();
    drop(sender);
    other.send(2).await.unwrap();
    drop(other);
    assert_eq!(receiver.len(), 2);
    assert_eq!(receiver.recv().await, Ok(1));
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(receiver.recv().await, Err(RecvError));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[tokio::test]
async fn a_full_channel_makes_senders_wait() {
    let (sender, receiver) = bounded(1);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    let mut waiting = Box::pin(sender.send(2));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(receiver.recv().await, Ok(1));
    waiting.await.unwrap();
    assert_eq!(receiver.recv().await, Ok(2));
    assert!(receiver.recv().now_or_never().is_none());
}

#[tokio::test]
async fn whoever_waits_is_told_that_the_channel_was_closed() {
    let (sender, receiver) = bounded(1);
    sender.send(1).await.unwrap();
    let mut waiting = Box::pin(sender.send(2));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(receiver);
    assert_eq!(waiting.await, Err(SendError(2)));
    assert!(sender.is_closed() && !sender.close());

    let (sender, receiver) = unbounded::<()>();
    let mut end = Box::pin(sender.closed());
    assert!(end.as_mut().now_or_never().is_none());
    let mut waiting = Box::pin(receiver.recv());
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(sender.close());
    assert_eq!(waiting.await, Err(RecvError));
    end.await;
    sender.closed().await;
}

/// One who is told of a message and leaves must not keep it from the next.
#[tokio::test]
async fn a_receiver_that_gives_up_passes_its_turn_on() {
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
async fn a_receiver_is_a_stream() {
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
async fn what_a_burst_has_used_is_given_back() {
    let (sender, receiver) = bounded(512);
    assert_eq!(sender.0.lock().queue.capacity(), 0);
    for n in 0..512 {
        sender.send([n; 64]).await.unwrap();
    }
    while receiver.try_recv().is_ok() {}
    assert!(sender.0.lock().queue.capacity() <= KEPT);
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
    let mut seen = all.concat();
    seen.sort_unstable();
    assert_eq!(seen, (0..4000).collect::<Vec<i32>>());
}
