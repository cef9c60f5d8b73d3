//! Whose trace it is: `traceparent` comes in with requests and calls, and goes out to the model.

use serde_json::Value;
use serde_json::json;

use super::PARENT;
use super::SPEAKS;
use super::TRACE;
use super::TRACEPARENT;
use super::ask;
use super::observed;
use super::parts;
use crate::support::Socket;
use crate::support::collector::Collector;
use crate::support::collector::Kept;
use crate::support::provider::Asked;
use crate::support::provider::Provider;

fn header<'a>(asked: &'a Asked, name: &str) -> &'a str {
    asked.headers.get(name).unwrap_or_else(|| panic!("no {name}: {asked:?}")).to_str().unwrap()
}

/// A trace and a span that no other call has, as `traceparent`.
fn caller(number: u8) -> String {
    format!("00-{number:032x}-{number:016x}-01")
}

/// A `traceparent` for a call in its parameters.
fn prompt(session: &str, traceparent: &str) -> Value {
    json!({ "prompt": "go", "session_id": session, "_meta": { "traceparent": traceparent } })
}

async fn turns(collector: &Collector, count: usize) -> Kept {
    collector.until("the turns", |kept| kept.named("invoke_agent codex").len() == count).await
}

#[tokio::test]
async fn caller_trace_continues_to_the_model() {
    let collector = Collector::start().await;
    let (provider, gateway) =
        observed(&collector, [SPEAKS.call("echo out"), SPEAKS.text("Done.")]).await;
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "vendor=opaque")];
    let answer =
        gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await.json();
    assert_eq!(answer["status"], "completed", "{answer}");
    let (server, _) = collector.span("POST /api/v1/exec").await;
    assert_eq!((server.trace.as_str(), server.parent.as_str()), (TRACE, PARENT));
    assert_eq!(server.state, "vendor=opaque");
    let kept = turns(&collector, 1).await;
    let stray: Vec<_> = kept.spans.iter().filter(|span| span.trace != TRACE).collect();
    assert!(stray.iter().all(|span| span.name != "invoke_agent codex"), "{}", kept.tree());

    let asked = provider.asked();
    let mut chats = kept.named("chat scripted");
    chats.sort_by_key(|chat| chat.start);
    assert_eq!((asked.len(), chats.len()), (2, 2), "{}", kept.tree());
    for (asked, chat) in asked.iter().zip(chats) {
        let (trace, parent) = parts(header(asked, "traceparent"));
        assert_eq!((trace.as_str(), &parent), (TRACE, &chat.id));
        assert_eq!(header(asked, "tracestate"), "vendor=opaque");
    }
}

#[tokio::test]
async fn request_trace_reaches_the_model() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [SPEAKS.text("Done.")]).await;
    // What is no `traceparent` starts a trace of its own, and is no error.
    let malformed =
        ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "ff-x"];
    for traceparent in malformed {
        let headers = [("traceparent", traceparent)];
        let answer = gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
        assert_eq!(answer.status, 200, "{traceparent:?}");
    }
    turns(&collector, malformed.len()).await;
    // A request's span ends after its turn's, and may be of a later export.
    let requests = |kept: &Kept| kept.named("POST /api/v1/exec").len() == malformed.len();
    let kept = collector.until("the requests", requests).await;
    for asked in provider.asked() {
        let (trace, parent) = parts(header(&asked, "traceparent"));
        let chat = kept.spans.iter().find(|span| span.id == parent).unwrap();
        assert_eq!((chat.name.as_str(), &chat.trace), ("chat scripted", &trace));
        let top = kept.trace(&trace).into_iter().find(|span| span.parent.is_empty()).unwrap();
        assert_eq!(top.name, "POST /api/v1/exec", "{}", kept.tree());
    }
}

#[tokio::test]
async fn unsampled_trace_is_forwarded_but_not_recorded() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [SPEAKS.text("Done.")]).await;
    let unsampled = TRACEPARENT.replace("-01", "-00");
    let headers = [("traceparent", unsampled.as_str())];
    gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
    let sent = header(&provider.asked()[0], "traceparent").to_owned();
    assert_eq!(parts(&sent).0, TRACE);
    assert!(sent.ends_with("-00"), "{sent}");
    // A request that comes later is there; nothing of the one before it.
    ask(&gateway, "later", "go").await;
    let kept = turns(&collector, 1).await;
    assert!(kept.trace(TRACE).is_empty(), "{}", kept.tree());
}

#[tokio::test]
async fn http_call_can_bring_its_own_trace() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [SPEAKS.text("Done.")]).await;
    let call = |id: u8| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "conversation.prompt",
                                "params": prompt(&format!("s{id}"), &caller(id)) })
    };
    // Two calls of one request, each of another caller's.
    let answers = gateway.post("/jsonrpc", json!([call(1), call(2)])).await.json();
    assert!(answers.as_array().unwrap().iter().all(|one| one["error"].is_null()), "{answers}");
    turns(&collector, 2).await;
    let calls = |kept: &Kept| kept.named("conversation.prompt").len() == 2;
    let kept = collector.until("the calls", calls).await;
    for id in [1, 2] {
        let (trace, parent) = parts(&caller(id));
        let spans = kept.trace(&trace);
        let call = spans.iter().find(|span| span.name == "conversation.prompt");
        assert_eq!(call.unwrap_or_else(|| panic!("{}", kept.tree())).parent, parent);
        assert!(spans.iter().any(|span| span.name == "chat scripted"), "{}", kept.tree());
        let reached =
            provider.asked().iter().any(|asked| parts(header(asked, "traceparent")).0 == trace);
        assert!(reached, "{trace} did not reach the model");
    }
    // A `_meta` that is not as it should be is no reason to refuse the call.
    for meta in [json!(7), json!({ "traceparent": 7 }), json!({ "traceparent": "x" }), Value::Null]
    {
        let params = json!({ "prompt": "go", "session_id": "s", "_meta": meta });
        let answer = gateway.rpc("conversation.prompt", params).await;
        assert_eq!(answer["result"]["content"], "Done.", "{answer}");
    }
}

#[tokio::test]
async fn websocket_calls_can_bring_their_own_traces() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [SPEAKS.text("Done.")]).await;
    let mut socket = Socket::connect(&gateway, &[("traceparent", TRACEPARENT)]).await;
    for id in [1, 2] {
        let answer =
            socket.call("conversation.prompt", prompt(&format!("s{id}"), &caller(id))).await;
        assert_eq!(answer["result"]["content"], "Done.", "{answer}");
    }
    let plain = json!({ "prompt": "go", "session_id": "plain" });
    socket.call("conversation.prompt", plain).await;
    // The spans of calls do not wait for the end of the socket.
    let kept = turns(&collector, 3).await;
    for id in [1, 2] {
        let (trace, parent) = parts(&caller(id));
        let spans = kept.trace(&trace);
        let call = spans.iter().find(|span| span.name == "conversation.prompt");
        assert_eq!(call.unwrap_or_else(|| panic!("{}", kept.tree())).parent, parent);
        let reached =
            provider.asked().iter().any(|asked| parts(header(asked, "traceparent")).0 == trace);
        assert!(reached, "{trace} did not reach the model");
    }
    // One without a trace of its own is the socket's.
    assert_eq!(parts(header(&provider.asked()[2], "traceparent")).0, TRACE);
}

#[tokio::test]
async fn disabled_telemetry_still_forwards_trace_to_model() {
    let provider = Provider::start([SPEAKS.text("Done.")]).await;
    let gateway = SPEAKS.gateway(&provider);
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "vendor=opaque")];
    gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
    gateway.rpc("conversation.prompt", prompt("s", &caller(3))).await;
    let asked = provider.asked();
    assert_eq!(parts(header(&asked[0], "traceparent")).0, TRACE);
    assert_eq!(header(&asked[0], "tracestate"), "vendor=opaque");
    assert_eq!(parts(header(&asked[1], "traceparent")).0, parts(&caller(3)).0);
}

#[tokio::test]
async fn detached_turn_links_to_its_request() {
    let collector = Collector::start().await;
    let (_provider, gateway) =
        observed(&collector, [SPEAKS.call("sleep 1"), SPEAKS.text("Done.")]).await;
    let body = json!({ "prompt": "go", "session_id": "rest" });
    let started = gateway.post("/api/v1/conversations", body).await;
    assert_eq!(started.json()["status"], "running");
    let (server, _) = collector.span("POST /api/v1/conversations").await;
    let kept = turns(&collector, 1).await;
    let agent = kept.span("invoke_agent codex");
    assert!(agent.end > server.end, "the turn outlives its request");
    assert_eq!(agent.links, [(server.trace.clone(), server.id.clone())], "{}", kept.tree());

    let call =
        json!({ "prompt": "go", "session_id": "rpc", "_meta": { "traceparent": TRACEPARENT } });
    gateway.rpc("conversation.start", call).await;
    let kept = turns(&collector, 2).await;
    let start = kept.span("conversation.start");
    let linked = (start.trace.clone(), start.id.clone());
    assert!(
        kept.named("invoke_agent codex").iter().any(|turn| turn.links == [linked.clone()]),
        "{:#?}",
        kept.named("invoke_agent codex")
    );

    // Whoever waits has no need of one.
    ask(&gateway, "waits", "go").await;
    let kept = turns(&collector, 3).await;
    let waited =
        kept.named("invoke_agent codex").into_iter().max_by_key(|turn| turn.start).unwrap();
    assert!(waited.links.is_empty(), "{waited:#?}");
}
