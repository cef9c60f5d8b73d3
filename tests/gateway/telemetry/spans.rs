//! Spans of a turn: names, kinds, parents and attributes, and the resource.

use serde_json::Value;
use serde_json::json;

use super::DIALECT;
use super::observed;
use crate::support::Gateway;
use crate::support::catalogue::with_catalogue;
use crate::support::collector::Collector;
use crate::support::collector::Received;
use crate::support::collector::Span;
use crate::support::eventually;
use crate::support::provider::Provider;
use crate::support::provider::status;

/// Waits for the span of a request, which ends last, and that of its turn.
async fn request(collector: &Collector, name: &str) -> (Span, Received) {
    let (request, _) = collector.span(name).await;
    let received = collector
        .until("the turn's span", |received| {
            received.trace(&request.trace).iter().any(|span| span.name == "invoke_agent codex")
        })
        .await;
    (request, received)
}

fn children<'a>(received: &'a Received, parent: &Span, prefix: &str) -> Vec<&'a Span> {
    received.children(parent).into_iter().filter(|span| span.name.starts_with(prefix)).collect()
}

/// Asserts the span of the turn below the request, and returns it.
fn agent_span<'a>(received: &'a Received, server: &Span, answer: &Value) -> &'a Span {
    let agents = children(received, server, "invoke_agent");
    assert_eq!(agents.len(), 1, "{}", received.tree());
    let agent = agents[0];
    assert_eq!(
        (agent.name.as_str(), agent.kind, agent.failed),
        ("invoke_agent codex", "internal", false)
    );
    agent.has(&json!({
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "codex",
        "gen_ai.provider.name": "scripted", "gen_ai.request.model": "scripted",
        "gen_ai.conversation.id": answer["conversation_id"], "session.id": answer["conversation_id"],
        "codex_gateway.turn.id": answer["turn_id"], "codex_gateway.turn.status": "completed",
        "gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 8, "openinference.span.kind": "AGENT",
    }));
    for time in ["codex_gateway.time_to_first_token", "codex_gateway.time_to_first_event"] {
        assert!(agent.get(time).as_f64().is_some_and(|time| time > 0.0), "{:#?}", agent.attributes);
    }
    agent
}

/// Asserts the spans of two model calls below the turn, and returns them.
fn chat_spans<'a>(received: &'a Received, agent: &Span, answer: &Value) -> Vec<&'a Span> {
    let chats = children(received, agent, "chat ");
    assert_eq!(chats.len(), 2, "{}", received.tree());
    for chat in &chats {
        assert_eq!(
            (chat.name.as_str(), chat.kind, chat.failed),
            ("chat scripted", "client", false)
        );
        chat.has(&json!({
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "scripted",
            "gen_ai.request.model": "scripted", "gen_ai.conversation.id": answer["conversation_id"],
            "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2,
            "gen_ai.usage.cache_read.input_tokens": 4, "codex_gateway.model.attempts": 1,
            "openinference.span.kind": "LLM",
        }));
    }
    chats
}

/// Asserts the span of one tool call below the turn, and returns it.
fn tool_spans<'a>(received: &'a Received, agent: &Span) -> Vec<&'a Span> {
    let tools = children(received, agent, "execute_tool ");
    assert_eq!(tools.len(), 1, "{}", received.tree());
    let tool = tools[0];
    assert_eq!((tool.name.as_str(), tool.kind), ("execute_tool exec_command", "internal"));
    tool.has(&json!({
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "exec_command",
        "gen_ai.tool.call.id": "call_1", "gen_ai.tool.type": "function", "process.exit.code": 3,
        "openinference.span.kind": "TOOL",
    }));
    tools
}

#[tokio::test]
async fn turn_is_one_trace_of_nested_spans() {
    let collector = Collector::start().await;
    let (_provider, gateway) =
        observed(&collector, [DIALECT.call("echo out; exit 3"), DIALECT.text("Done.")]).await;
    let answer = gateway.ask("s", "go").await;
    assert_eq!(answer["status"], "completed", "{answer}");
    let (server, received) = request(&collector, "POST /api/v1/exec").await;
    assert_eq!((server.kind, server.parent.as_str(), server.failed), ("server", "", false));
    server.has(&json!({
        "http.request.method": "POST", "http.route": "/api/v1/exec", "url.path": "/api/v1/exec",
        "url.scheme": "http", "http.response.status_code": 200,
    }));

    let agent = agent_span(&received, &server, &answer);
    let chats = chat_spans(&received, agent, &answer);
    let tools = tool_spans(&received, agent);
    // Nested, and in sequence.
    assert!(server.start <= agent.start && agent.end <= server.end);
    assert!(chats[0].start < tools[0].start && tools[0].end <= chats[1].end, "{}", received.tree());
    for span in chats.iter().chain(&tools) {
        assert!(agent.start <= span.start && span.end <= agent.end, "{}", span.name);
    }
}

#[tokio::test]
async fn core_spans_join_but_never_start_traces() {
    let collector = Collector::start().await;
    let (_provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    gateway.ask("s", "go").await;
    let (agent, _) = collector.span("invoke_agent codex").await;
    for name in ["op.dispatch.user_input", "session_task.turn"] {
        let below = |received: &Received| {
            let its = received.trace(&agent.trace).into_iter().find(|span| span.name == name);
            its.is_some_and(|span| received.above(span).contains(&"invoke_agent codex"))
        };
        collector.until(&format!("{name} below the agent"), below).await;
    }
    // Background work of core at the start of a conversation starts no traces.
    let (_, received) = collector.span("POST /api/v1/exec").await;
    let tops: Vec<&str> = received
        .spans
        .iter()
        .filter(|span| span.parent.is_empty())
        .map(|span| span.name.as_str())
        .collect();
    assert_eq!(tops, ["POST /api/v1/exec"], "{}", received.tree());
}

#[tokio::test]
async fn turn_tokens_exclude_earlier_turns() {
    let collector = Collector::start().await;
    let (_provider, gateway) =
        observed(&collector, [DIALECT.text("One."), DIALECT.text("Two.")]).await;
    for prompt in ["one", "two"] {
        gateway.ask("s", prompt).await;
    }
    let received = collector
        .until("two turns", |received| received.named("invoke_agent codex").len() == 2)
        .await;
    for turn in received.named("invoke_agent codex") {
        turn.has(&json!({ "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2 }));
    }
    let traces: Vec<&str> =
        received.named("invoke_agent codex").iter().map(|one| one.trace.as_str()).collect();
    assert_ne!(traces[0], traces[1], "a trace per request");
}

#[tokio::test]
async fn model_failure_marks_call_and_turn() {
    let collector = Collector::start().await;
    let error =
        json!({ "error": { "message": "No such model.", "type": "invalid_request_error" } });
    let (_provider, gateway) = observed(&collector, [status(404, &error)]).await;
    let answer = gateway.ask("s", "go").await;
    assert_eq!(answer["status"], "failed", "{answer}");
    let (server, received) = request(&collector, "POST /api/v1/exec").await;
    let agent = received.span("invoke_agent codex");
    assert!(agent.failed && agent.parent == server.id, "{}", received.tree());
    agent.has(&json!({ "codex_gateway.turn.status": "failed" }));
    assert!(agent.get("error.type").is_string(), "{:#?}", agent.attributes);
    let chat = received.span("chat scripted");
    assert!(chat.failed, "{chat:#?}");
    assert!(chat.get("error.type").is_string(), "{:#?}", chat.attributes);
    // The request itself succeeded.
    assert!(!server.failed);
}

#[tokio::test]
async fn retried_call_is_one_span_with_attempts() {
    let collector = Collector::start().await;
    let busy = status(503, &json!({ "error": { "message": "busy" } }));
    let (provider, gateway) = observed(&collector, [busy, DIALECT.text("Done.")]).await;
    gateway.ask("s", "go").await;
    assert_eq!(provider.requests().len(), 2);
    let (_, received) = request(&collector, "POST /api/v1/exec").await;
    let calls = received.named("chat scripted");
    assert_eq!(calls.len(), 1, "{}", received.tree());
    calls[0].has(&json!({ "codex_gateway.model.attempts": 2 }));
    assert!(!calls[0].failed);
}

#[tokio::test]
async fn patch_span_counts_its_files() {
    let patch =
        "*** Begin Patch\n*** Add File: a.txt\n+a\n*** Add File: b.txt\n+b\n*** End Patch\n";
    let provider = Provider::start([DIALECT.patch(patch), DIALECT.text("Patched.")]).await;
    let (_catalogue, setup) = with_catalogue(DIALECT.model, DIALECT.setup(&provider));
    let collector = Collector::start().await;
    let gateway = collector.exporting(setup).start();
    let answer = gateway.ask("s", "patch it").await;
    assert_eq!(answer["task_result"]["summary"], "Patched.", "{answer}");
    let (tool, received) = collector.span("execute_tool apply_patch").await;
    tool.has(&json!({
        "gen_ai.tool.name": "apply_patch", "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call_p", "codex_gateway.patch.files": 2,
    }));
    assert!(!tool.failed, "{}", received.tree());
}

#[tokio::test]
async fn rpc_calls_are_spans_named_by_method() {
    let collector = Collector::start().await;
    let (_provider, gateway) = observed(&collector, [DIALECT.text("Done.")]).await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "conversation.prompt", "params": { "prompt": "go", "session_id": "s" } },
        { "jsonrpc": "2.0", "id": 2, "method": "conversation.status", "params": { "session_id": "nobody" } },
        { "jsonrpc": "2.0", "id": 3, "method": "no.such.method" },
    ]);
    gateway.post("/jsonrpc", batch).await;
    let (server, received) = request(&collector, "POST /jsonrpc").await;
    for name in ["conversation.prompt", "conversation.status"] {
        let call = received.span(name);
        assert_eq!((&call.parent, &call.trace), (&server.id, &server.trace), "{}", received.tree());
        call.has(&json!({ "rpc.system": "jsonrpc", "rpc.method": name }));
    }
    assert_eq!(received.span("invoke_agent codex").parent, received.span("conversation.prompt").id);
    // An unknown method is no name of a span.
    assert!(
        received.spans.iter().all(|span| !span.name.contains("no.such.method")),
        "{}",
        received.tree()
    );
}

#[tokio::test]
async fn refused_requests_have_bounded_span_names() {
    let collector = Collector::start().await;
    let gateway = collector.exporting(Gateway::env("GATEWAY_API_KEY", "canary-api")).start();
    gateway.post("/api/v1/exec", json!({ "prompt": "x" })).await;
    gateway.get("/no/such/path").await;
    gateway.send("BREW", "/health", &[], b"").await;
    let received = collector
        .until("three requests", |received| {
            received.spans.iter().filter(|one| one.kind == "server").count() == 3
        })
        .await;
    let refused = received.span("POST /api/v1/exec");
    refused.has(&json!({ "http.response.status_code": 401 }));
    // By the conventions, a 4xx status is no failure of the server.
    assert!(!refused.failed);
    let unknown =
        received.spans.iter().find(|span| span.get("url.path") == "/no/such/path").unwrap();
    assert_eq!(unknown.name, "GET");
    unknown.has(&json!({ "http.response.status_code": 404 }));
    let brew =
        received.spans.iter().find(|span| span.get("http.response.status_code") == 405).unwrap();
    brew.has(&json!({ "http.request.method": "_OTHER" }));
    assert!(!brew.name.contains("BREW"), "{}", brew.name);
}

#[tokio::test]
async fn stream_span_lasts_until_its_end() {
    let collector = Collector::start().await;
    let (_provider, gateway) =
        observed(&collector, [DIALECT.call("sleep 1"), DIALECT.text("Done.")]).await;
    gateway.exec(json!({ "prompt": "go" })).await;
    let (server, received) = request(&collector, "POST /exec").await;
    let agent = received.span("invoke_agent codex");
    assert_eq!(agent.parent, server.id);
    assert!(server.end - server.start > 1_000_000_000, "{}", server.end - server.start);
    assert!(
        server.get("codex_gateway.stream.events").as_u64().unwrap() > 3,
        "{:#?}",
        server.attributes
    );
}

#[tokio::test]
async fn turn_span_records_its_status() {
    let collector = Collector::start().await;
    let gateway = collector.exporting(Gateway::config("")).start();
    let body = json!({ "prompt": "slow: 3000", "session_id": "t", "timeout_ms": 1000 });
    gateway.post("/api/v1/exec", body).await;
    let mut lines =
        gateway.stream("/exec", &[], json!({ "prompt": "slow: 3000", "session_id": "c" })).await;
    lines.until("agent_message_content_delta").await;
    gateway.rpc("conversation.cancel", json!({ "session_id": "c" })).await;
    let ends = |received: &Received| -> Vec<Value> {
        let turns = received.named("invoke_agent codex").into_iter();
        let mut ends: Vec<Value> =
            turns.map(|turn| turn.get("codex_gateway.turn.status").clone()).collect();
        ends.sort_by_key(Value::to_string);
        ends
    };
    let received = collector.until("two turns", |received| ends(received).len() == 2).await;
    assert_eq!(ends(&received), [json!("cancelled"), json!("timed_out")]);
}

#[tokio::test]
async fn resource_names_service_and_platform() {
    let collector = Collector::start().await;
    let setup = Gateway::env("K_SERVICE", "front").env("K_REVISION", "front-00007-abc");
    let setup = setup.env("K_CONFIGURATION", "front");
    let setup =
        setup.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,team=a%20b");
    let gateway = collector.exporting(setup).start();
    gateway.get("/health").await;
    gateway.ask("s", "say: x").await;
    let received = collector.until("all signals", |received| received.resources.len() == 3).await;
    for (signal, resource) in &received.resources {
        let is = |key: &str, expected: &str| {
            assert_eq!(resource.get(key), Some(&json!(expected)), "{signal}: {resource:#?}");
        };
        is("service.name", "codex-gateway");
        is("service.version", env!("CARGO_PKG_VERSION"));
        is("cloud.provider", "gcp");
        is("cloud.platform", "gcp_cloud_run");
        is("faas.name", "front");
        is("faas.version", "front-00007-abc");
        is("deployment.environment.name", "test");
        is("team", "a b");
        assert!(resource.contains_key("service.instance.id"), "{signal}: {resource:#?}");
    }
    drop(gateway);

    // A configured name wins.
    let collector = Collector::start().await;
    let gateway = collector.exporting(Gateway::env("OTEL_SERVICE_NAME", "mine")).start();
    gateway.get("/health").await;
    eventually("the name is exported", || async {
        collector
            .received()
            .resources
            .get("metrics")
            .is_some_and(|one| one["service.name"] == "mine")
    })
    .await;
    assert!(!collector.received().resources["metrics"].contains_key("faas.name"));
}
