//! Many sockets and subscriptions at a time: each is served, and nothing leaks.

use futures::future::join_all;
use serde_json::json;

use super::next_event;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_subscribers_get_every_event_in_order() {
    // Each connection takes a file descriptor here and one in the gateway.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: usize = files.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    let crowd = 1000.min(files.saturating_sub(200));
    let gateway = Gateway::config("[gateway]\nmax_connections = 2000\n").start();
    gateway.exec(json!({ "prompt": "say: hi", "session_id": "s" })).await;
    let mut readers = Vec::new();
    for _ in 0..crowd {
        let mut socket = Socket::connect(&gateway, &[]).await;
        let answer = socket.call("conversation.subscribe", json!({ "session_id": "s" })).await;
        assert_eq!(answer["result"]["subscribed"], true);
        // Reads from now on: the gateway closes clients that answer no pings.
        readers.push(tokio::spawn(async move {
            let mut seq = 0;
            loop {
                let event = next_event(&mut socket).await;
                seq += 1;
                assert_eq!(event["seq"], seq);
                if event["msg"]["type"] == "task_complete" && seq > 200 {
                    break;
                }
            }
            let completed = socket.notification().await;
            assert_eq!(completed["type"], "task_completed");
            seq
        }));
    }
    assert_eq!(gateway.load().await["streams"], crowd);
    let turn = gateway.exec(json!({ "prompt": "deltas: 200", "session_id": "s" })).await;
    let last = turn.last().unwrap()["seq"].as_u64().unwrap();
    for seen in join_all(readers).await {
        assert_eq!(seen.unwrap(), last);
    }
    eventually("nothing is left of them", || async {
        let load = gateway.load().await;
        load["streams"] == 0 && load["connections"] == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_sockets_leave_nothing_behind() {
    let gateway = Gateway::config("[gateway]\nmax_queued_prompts = 100\n").start();
    // Calls in flight: prompts queue for the one turn of a conversation, the others read its
    // status.
    for n in 0..4 {
        gateway.exec(json!({ "prompt": "say: hi", "session_id": format!("s{n}") })).await;
    }
    let idle = gateway.load().await;
    let sockets = (0..100_u64).map(|n| {
        let address = gateway.address;
        tokio::spawn(async move {
            let tied = [("x-cancel-on-disconnect", "true")];
            let mut socket = Socket::open(address, &tied).await.unwrap();
            let session = format!("s{}", n % 4);
            let mut ids = Vec::new();
            for call in 0..100 {
                let id = if call % 50 == 0 {
                    let params =
                        json!({ "prompt": "slow: 1", "session_id": session, "if_busy": "queue" });
                    socket.send("conversation.prompt", params).await
                } else if call % 50 == 1 {
                    let params = json!({ "session_id": session, "include_deltas": false });
                    socket.send("conversation.subscribe", params).await
                } else {
                    socket.send("conversation.status", json!({ "session_id": session })).await
                };
                ids.push(id);
                // Killed among its calls, with unread answers.
                if n % 2 == 0 && call == n {
                    return 0;
                }
            }
            if n % 2 == 0 {
                return 0;
            }
            let mut answered = 0;
            for id in ids {
                let answer = socket.answer(id).await;
                assert!(answer["result"].is_object(), "{answer}");
                answered += 1;
                socket.notified();
            }
            answered
        })
    });
    let answered = join_all(sockets.collect::<Vec<_>>()).await;
    let answered: u64 = answered.into_iter().map(Result::unwrap).sum();
    assert_eq!(answered, 50 * 100);
    eventually("nothing is left of them", || async {
        let load = gateway.load().await;
        load["connections"] == 1
            && load["streams"] == 0
            && load["turns"] == 0
            && load["tasks"].as_u64() <= idle["tasks"].as_u64()
    })
    .await;
    let answer = gateway.rpc("conversation.prompt", json!({ "prompt": "say: on" })).await;
    assert_eq!(answer["result"]["content"], "on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socket_follows_at_most_256_conversations() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    let session = |n: usize| json!({ "session_id": format!("s{n}") });
    let all: Vec<usize> = (0..=256).collect();
    // A socket has at most 128 calls in flight.
    for some in all.chunks(100) {
        let mut ids = Vec::new();
        for n in some {
            ids.push(socket.send("conversation.start", session(*n)).await);
        }
        for id in ids {
            let started = socket.answer(id).await;
            assert!(started["result"]["conversation_id"].is_string(), "{started}");
        }
    }
    for n in 0..256 {
        let followed = socket.call("conversation.subscribe", session(n)).await;
        assert_eq!(followed["result"]["subscribed"], true, "{n}: {followed}");
    }
    assert_eq!(gateway.load().await["streams"], 256);
    let refused = socket.call("conversation.subscribe", session(256)).await;
    assert_eq!(refused["error"]["code"], -32001, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("256"), "{refused}");

    // Resubscribing takes no slot; unsubscribing frees one.
    let again = socket.call("conversation.subscribe", session(7)).await;
    assert_eq!(again["result"]["subscribed"], true, "{again}");
    let given_up = socket.call("conversation.unsubscribe", session(7)).await;
    assert!(given_up["error"].is_null(), "{given_up}");
    let followed = socket.call("conversation.subscribe", session(256)).await;
    assert_eq!(followed["result"]["subscribed"], true, "{followed}");
    socket.close().await;
    eventually("nothing is left of them", || async { gateway.load().await["streams"] == 0 }).await;
}
