//! Turns of the real core over every wire of the bridge.

mod breaks;
mod connections;
mod endings;
mod images;
mod keys;
mod outages;
mod reasoning;
mod refusals;
mod shapes;
mod tools;
mod transports;
mod waits;
mod whole;

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::support::Gateway;
use crate::support::client;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::ask;
use crate::support::eventually;
use crate::support::process::listening_ports;
use crate::support::provider::Answer;
use crate::support::provider::End;
use crate::support::provider::Provider;
use crate::support::provider::status;

#[tokio::test]
async fn each_wire_carries_text_tools_and_history() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider = Provider::start([
            dialect.text("Good morning."),
            dialect.call("echo from-the-tool"),
            dialect.text("It said so."),
        ])
        .await;
        let gateway = dialect.gateway(&provider);
        let first = ask(&gateway, "my number is 7331").await;
        assert_eq!(first["status"], "completed", "{wire}: {first}");
        assert_eq!(first["task_result"]["summary"], "Good morning.", "{wire}");
        assert_eq!(first["usage"]["input_tokens"], 10, "{wire}: {first}");
        assert_eq!(first["usage"]["cached_input_tokens"], 4, "{wire}: {first}");

        let second = ask(&gateway, "use a tool").await;
        assert_eq!(second["status"], "completed", "{wire}: {second}");
        assert_eq!(second["task_result"]["summary"], "It said so.", "{wire}");
        assert!(second["stdout"].as_str().unwrap().contains("from-the-tool"), "{wire}: {second}");

        let requests = provider.requests();
        assert_eq!(requests.len(), 3, "{wire}");
        let last = requests[2].body.to_string();
        for part in ["my number is 7331", "Good morning.", "use a tool", "from-the-tool"] {
            assert!(last.contains(part), "{wire} lost {part}: {last}");
        }
        for one in &requests {
            assert_eq!(one.path, dialect.path);
            assert_eq!(one.headers[dialect.key_header.0], dialect.key_header.1, "{wire}");
        }
        assert_eq!(
            provider.connections.load(Ordering::SeqCst),
            1,
            "{wire}: one connection for all calls"
        );
        let log = gateway.logged("model call").await;
        assert!(!log.contains("canary"), "{wire}");
    }
}

#[tokio::test]
async fn each_wire_retries_a_busy_provider() {
    for dialect in &DIALECTS {
        let busy = Answer {
            headers: vec![("retry-after", "0")],
            ..status(429, &json!({ "error": { "message": "slow down" } }))
        };
        let unavailable = status(503, &json!({ "error": { "message": "later" } }));
        let provider = Provider::start([busy, unavailable, dialect.text("At last.")]).await;
        let answer = ask(&dialect.gateway(&provider), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "At last.", "{}: {answer}", dialect.name());
        assert_eq!(provider.requests().len(), 3);
    }
}

#[tokio::test]
async fn each_wire_reports_failures_without_the_key() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let expired = json!({ "error": { "code": 401, "status": "UNAUTHENTICATED", "type": "authentication_error",
                                         "message": "invalid key canary-key" } });
        let cut = Answer { end: End::Cut, body: String::new(), ..dialect.text("x") };
        let provider = Provider::start([status(401, &expired)]).await;
        let gateway = dialect.gateway(&provider);
        let refused = ask(&gateway, "hello").await;
        assert_eq!(
            (&refused["status"], &refused["error"]["source"]),
            (&json!("failed"), &json!("model")),
            "{wire}: {refused}"
        );
        let log = gateway.log.lock().unwrap().clone();
        assert!(
            !refused.to_string().contains("canary") && !log.contains("canary"),
            "{wire}: {refused}"
        );
        provider.respond_with(cut);
        let broken = ask(&gateway, "hello again").await;
        assert_eq!(broken["status"], "failed", "{wire}: {broken}");
        provider.respond_with(dialect.text("Back."));
        let back = ask(&gateway, "once more").await;
        assert_eq!(back["task_result"]["summary"], "Back.", "{wire}: {back}");
    }
}

#[tokio::test]
async fn cancel_drops_the_provider_stream() {
    for dialect in &DIALECTS {
        let hangs = Answer { end: End::Hang, body: ": hello\n\n".into(), ..dialect.text("x") };
        let provider = Provider::start([hangs, dialect.text("Free again.")]).await;
        let gateway = dialect.gateway(&provider);
        let mut stream =
            gateway.stream("/exec", &[], json!({ "prompt": "hello", "session_id": "s" })).await;
        eventually("the provider has the request", || async {
            provider.open.load(Ordering::SeqCst) == 1
        })
        .await;
        gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
        assert_eq!(stream.events().await.last().unwrap()["msg"]["type"], "turn_aborted");
        eventually("the connection is closed", || async {
            provider.open.load(Ordering::SeqCst) == 0
        })
        .await;
        let answer = ask(&gateway, "and now?").await;
        assert_eq!(answer["task_result"]["summary"], "Free again.", "{}: {answer}", dialect.name());
    }
}

#[tokio::test]
async fn unreachable_provider_is_named() {
    let dialect = &DIALECTS[1];
    let provider = Provider::start([dialect.text("Here.")]).await;
    let config = provider.config(dialect.wire_api, dialect.model);
    let nowhere = config.replace(&provider.address, "http://127.0.0.1:9");
    let setup = Gateway::config(&nowhere).env("SCRIPTED_KEY", "k").env("CODEX_MAX_RETRIES", "1");
    let answer = ask(&setup.start(), "hello").await;
    assert_eq!(
        (&answer["status"], &answer["error"]["source"]),
        (&json!("failed"), &json!("model"))
    );
    assert!(answer["error"]["message"].as_str().unwrap().contains("scripted: "), "{answer}");
}

#[tokio::test]
async fn only_core_reaches_the_bridge() {
    let gateway = Gateway::start();
    gateway.post("/api/v1/exec", json!({ "prompt": "say: x" })).await;
    // The port of the bridge is not announced: try every other port of the process.
    let ports = listening_ports(gateway.child.id());
    let others: Vec<u16> =
        ports.into_iter().filter(|port| *port != gateway.address.port()).collect();
    assert!(!others.is_empty(), "the bridge listens");
    for port in others {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        for headers in [&[][..], &[("authorization", "Bearer guess")]] {
            let path = "/demo/v1/responses";
            let reply = client::request(address, "POST", path, headers, b"{}".to_vec()).await;
            assert_eq!(reply.status, 401);
        }
    }
}
