//! Context propagation: `traceparent` of requests and calls reaches the model.

use serde_json::Value;
use serde_json::json;

use super::DIALECT;
use super::PARENT;
use super::TRACE;
use super::TRACEPARENT;
use super::observed;
use super::parts;
use crate::support::Socket;
use crate::support::collector::Collector;
use crate::support::collector::Received;
use crate::support::provider::Provider;
use crate::support::provider::RecordedRequest;

fn header<'a>(request: &'a RecordedRequest, name: &str) -> &'a str {
    request.headers.get(name).unwrap_or_else(|| panic!("no {name}: {request:?}")).to_str().unwrap()
}

/// Returns the `traceparent` of a trace with this number.
fn caller(number: u8) -> String {
    format!("00-{number:032x}-{number:016x}-01")
}

/// Returns parameters of a prompt with a `traceparent`.
fn prompt(session: &str, traceparent: &str) -> Value {
    json!({ "prompt": "go", "session_id": session, "_meta": { "traceparent": traceparent } })
}

/// Asserts that a request with this trace reached the model.
fn assert_reached(provider: &Provider, trace: &str) {
    let traces = |request: &RecordedRequest| parts(header(request, "traceparent")).0;
    let reached = provider.requests().iter().any(|request| traces(request) == trace);
    assert!(reached, "{trace} did not reach the model");
}

async fn turns(collector: &Collector, count: usize) -> Received {
    collector
        .until("the turns", |received| received.named("invoke_agent codex").len() == count)
        .await
}

#[tokio::test]
async fn baggage_reaches_providers_only_if_configured() {
    for (config, expected) in
        [("", None), ("[gateway.telemetry]\nforward_baggage = true\n", Some("user=mallory"))]
    {
        let provider = Provider::start([DIALECT.text("Done.")]).await;
        let gateway = DIALECT.setup(&provider).config(config).start();
        let headers = [("traceparent", TRACEPARENT), ("baggage", "user=mallory")];
        let answer = gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
        assert_eq!(answer.json()["status"], "completed", "{}", answer.text());
        let request = &provider.requests()[0];
        assert_eq!(parts(header(request, "traceparent")).0, TRACE);
        let baggage = request.headers.get("baggage").map(|value| value.to_str().unwrap());
        assert_eq!(baggage, expected);
    }
}

#[tokio::test]
async fn caller_trace_continues_to_the_model() {
    let collector = Collector::start().await;
    let (provider, gateway) =
        observed(&collector, [DIALECT.call("echo out"), DIALECT.text("Done.")]).await;
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "vendor=opaque")];
    let answer =
        gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await.json();
    assert_eq!(answer["status"], "completed", "{answer}");
    let (server, _) = collector.span("POST /api/v1/exec").await;
    assert_eq!((server.trace.as_str(), server.parent.as_str()), (TRACE, PARENT));
    assert_eq!(server.state, "vendor=opaque");
    let received = turns(&collector, 1).await;
    let stray: Vec<_> = received.spans.iter().filter(|span| span.trace != TRACE).collect();
    assert!(stray.iter().all(|span| span.name != "invoke_agent codex"), "{}", received.tree());

    let requests = provider.requests();
    let mut chats = received.named("chat scripted");
    chats.sort_by_key(|chat| chat.start);
    assert_eq!((requests.len(), chats.len()), (2, 2), "{}", received.tree());
    for (request, chat) in requests.iter().zip(chats) {
        let (trace, parent) = parts(header(request, "traceparent"));
        assert_eq!((trace.as_str(), &parent), (TRACE, &chat.id));
        assert_eq!(header(request, "tracestate"), "vendor=opaque");
    }
}

#[tokio::test]
async fn request_trace_reaches_the_model() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    // An invalid `traceparent` is no error: the request starts its own trace.
    let malformed =
        ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "ff-x"];
    for traceparent in malformed {
        let headers = [("traceparent", traceparent)];
        let answer = gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
        assert_eq!(answer.status, 200, "{traceparent:?}");
    }
    turns(&collector, malformed.len()).await;
    // The span of a request ends after the turn's, possibly in a later export.
    let requests =
        |received: &Received| received.named("POST /api/v1/exec").len() == malformed.len();
    let received = collector.until("the requests", requests).await;
    for request in provider.requests() {
        let (trace, parent) = parts(header(&request, "traceparent"));
        let chat = received.spans.iter().find(|span| span.id == parent).unwrap();
        assert_eq!((chat.name.as_str(), &chat.trace), ("chat scripted", &trace));
        let top = received.trace(&trace).into_iter().find(|span| span.parent.is_empty()).unwrap();
        assert_eq!(top.name, "POST /api/v1/exec", "{}", received.tree());
    }
}

#[tokio::test]
async fn unsampled_trace_is_forwarded_but_not_recorded() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    let unsampled = TRACEPARENT.replace("-01", "-00");
    let headers = [("traceparent", unsampled.as_str())];
    gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
    let sent = header(&provider.requests()[0], "traceparent").to_owned();
    assert_eq!(parts(&sent).0, TRACE);
    assert!(sent.ends_with("-00"), "{sent}");
    // The later request is exported, the unsampled one is not.
    gateway.ask("later", "go").await;
    let received = turns(&collector, 1).await;
    assert!(received.trace(TRACE).is_empty(), "{}", received.tree());
}

#[tokio::test]
async fn http_call_can_bring_its_own_trace() {
    let collector = Collector::start().await;
    let (provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    let call = |id: u8| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "conversation.prompt",
                                "params": prompt(&format!("s{id}"), &caller(id)) })
    };
    // Two calls in one request, each with the trace of another caller.
    let answers = gateway.post("/jsonrpc", json!([call(1), call(2)])).await.json();
    assert!(answers.as_array().unwrap().iter().all(|one| one["error"].is_null()), "{answers}");
    turns(&collector, 2).await;
    let calls = |received: &Received| received.named("conversation.prompt").len() == 2;
    let received = collector.until("the calls", calls).await;
    for id in [1, 2] {
        let (trace, parent) = parts(&caller(id));
        let spans = received.trace(&trace);
        let call = spans.iter().find(|span| span.name == "conversation.prompt");
        assert_eq!(call.unwrap_or_else(|| panic!("{}", received.tree())).parent, parent);
        assert!(spans.iter().any(|span| span.name == "chat scripted"), "{}", received.tree());
        assert_reached(&provider, &trace);
    }
    // An invalid `_meta` does not refuse the call.
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
    let (provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    let mut socket = Socket::connect(&gateway, &[("traceparent", TRACEPARENT)]).await;
    for id in [1, 2] {
        let answer =
            socket.call("conversation.prompt", prompt(&format!("s{id}"), &caller(id))).await;
        assert_eq!(answer["result"]["content"], "Done.", "{answer}");
    }
    let plain = json!({ "prompt": "go", "session_id": "plain" });
    socket.call("conversation.prompt", plain).await;
    // Spans of calls are exported while the socket is open.
    let received = turns(&collector, 3).await;
    for id in [1, 2] {
        let (trace, parent) = parts(&caller(id));
        let spans = received.trace(&trace);
        let call = spans.iter().find(|span| span.name == "conversation.prompt");
        assert_eq!(call.unwrap_or_else(|| panic!("{}", received.tree())).parent, parent);
        assert_reached(&provider, &trace);
    }
    // A call without a trace belongs to the socket's.
    assert_eq!(parts(header(&provider.requests()[2], "traceparent")).0, TRACE);
}

#[tokio::test]
async fn disabled_telemetry_still_forwards_trace_to_model() {
    let provider = Provider::start([DIALECT.text("Done.")]).await;
    let gateway = DIALECT.gateway(&provider);
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "vendor=opaque")];
    gateway.post_with("/api/v1/exec", &headers, json!({ "prompt": "go" })).await;
    gateway.rpc("conversation.prompt", prompt("s", &caller(3))).await;
    let requests = provider.requests();
    assert_eq!(parts(header(&requests[0], "traceparent")).0, TRACE);
    assert_eq!(header(&requests[0], "tracestate"), "vendor=opaque");
    assert_eq!(parts(header(&requests[1], "traceparent")).0, parts(&caller(3)).0);
}

#[tokio::test]
async fn detached_turn_links_to_its_request() {
    let collector = Collector::start().await;
    let (_provider, gateway) =
        observed(&collector, [DIALECT.call("sleep 1"), DIALECT.text("Done.")]).await;
    let body = json!({ "prompt": "go", "session_id": "rest" });
    let started = gateway.post("/api/v1/conversations", body).await;
    assert_eq!(started.json()["status"], "running");
    let (server, _) = collector.span("POST /api/v1/conversations").await;
    let received = turns(&collector, 1).await;
    let agent = received.span("invoke_agent codex");
    assert!(agent.end > server.end, "the turn outlives its request");
    assert_eq!(agent.links, [(server.trace.clone(), server.id.clone())], "{}", received.tree());

    let call =
        json!({ "prompt": "go", "session_id": "rpc", "_meta": { "traceparent": TRACEPARENT } });
    gateway.rpc("conversation.start", call).await;
    let received = turns(&collector, 2).await;
    let start = received.span("conversation.start");
    let linked = (start.trace.clone(), start.id.clone());
    assert!(
        received.named("invoke_agent codex").iter().any(|turn| turn.links == [linked.clone()]),
        "{:#?}",
        received.named("invoke_agent codex")
    );

    // A turn inside its request needs no link.
    gateway.ask("waits", "go").await;
    let received = turns(&collector, 3).await;
    let waited =
        received.named("invoke_agent codex").into_iter().max_by_key(|turn| turn.start).unwrap();
    assert!(waited.links.is_empty(), "{waited:#?}");
}
