//! Real turns of the real core over every wire of the bridge.

use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::eventually;
use crate::support::provider::Answer;
use crate::support::provider::End;
use crate::support::provider::Provider;
use crate::support::provider::sse;
use crate::support::provider::status;

/// How one provider says things.
struct Speaks {
    wire_api: &'static str,
    model: &'static str,
    path: &'static str,
    key_header: (&'static str, &'static str),
    text: fn(&str) -> Answer,
    call: fn(&str) -> Answer,
}

const WIRES: [Speaks; 4] = [
    Speaks {
        wire_api: "responses",
        model: "scripted",
        path: "/v1/responses",
        key_header: ("authorization", "Bearer canary-key"),
        text: responses_text,
        call: responses_call,
    },
    Speaks {
        wire_api: "chat",
        model: "scripted",
        path: "/v1/chat/completions",
        key_header: ("authorization", "Bearer canary-key"),
        text: chat_text,
        call: chat_call,
    },
    Speaks {
        wire_api: "anthropic",
        model: "claude-sonnet-4-5",
        path: "/v1/messages",
        key_header: ("x-api-key", "canary-key"),
        text: anthropic_text,
        call: anthropic_call,
    },
    Speaks {
        wire_api: "gemini",
        model: "gemini-2.5-pro",
        path: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        key_header: ("x-goog-api-key", "canary-key"),
        text: gemini_text,
        call: gemini_call,
    },
];

fn responses(item: &Value, deltas: &[&str]) -> Answer {
    let mut events = vec![
        json!({ "type": "response.created", "response": { "id": "r" } }),
        json!({ "type": "response.output_item.added", "output_index": 0,
                "item": { "type": "message", "role": "assistant", "id": "msg_1", "content": [] } }),
    ];
    events.extend(deltas.iter().map(|delta| {
        json!({ "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
                "content_index": 0, "delta": delta })
    }));
    events.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": item }));
    events.push(json!({ "type": "response.completed", "response": { "id": "r", "usage": {
        "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4 }, "output_tokens": 2,
        "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 12 } } }));
    sse(&events)
}

fn responses_text(text: &str) -> Answer {
    let content = json!([{ "type": "output_text", "text": text }]);
    responses(
        &json!({ "type": "message", "role": "assistant", "id": "msg_1", "content": content }),
        &[text],
    )
}

fn responses_call(command: &str) -> Answer {
    let arguments = json!({ "command": command }).to_string();
    responses(
        &json!({ "type": "function_call", "id": "fc_1", "call_id": "call_1",
                 "name": "shell_command", "arguments": arguments }),
        &[],
    )
}

fn chat(deltas: &[Value], finish: &str) -> Answer {
    let chunk = |choices: Value, usage: Value| json!({ "id": "c", "object": "chat.completion.chunk", "choices": choices, "usage": usage });
    let mut events: Vec<Value> = deltas
        .iter()
        .map(|delta| {
            chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]), Value::Null)
        })
        .collect();
    events.push(chunk(json!([{ "index": 0, "delta": {}, "finish_reason": finish }]), Value::Null));
    events.push(chunk(
        json!([]),
        json!({ "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
        "prompt_tokens_details": { "cached_tokens": 4 } }),
    ));
    let mut answer = sse(&events);
    answer.body.push_str("data: [DONE]\n\n");
    answer
}

fn chat_text(text: &str) -> Answer {
    chat(&[json!({ "role": "assistant", "content": "" }), json!({ "content": text })], "stop")
}

fn chat_call(command: &str) -> Answer {
    let arguments = json!({ "command": command }).to_string();
    let (head, tail) = arguments.split_at(5);
    let call = |id: Value, name: Value, arguments: &str| {
        json!({ "tool_calls": [{ "index": 0, "id": id, "type": "function",
                 "function": { "name": name, "arguments": arguments } }] })
    };
    chat(
        &[
            call(json!("call_1"), json!("shell_command"), head),
            json!({ "tool_calls": [
            { "index": 0, "function": { "arguments": tail } }] }),
        ],
        "tool_calls",
    )
}

fn anthropic(block: &Value, deltas: &[Value], stop_reason: &str) -> Answer {
    let mut events = vec![
        json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "content": [], "stop_reason": null, "usage": {
            "input_tokens": 6, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "ping" }),
    ];
    events.extend(
        deltas
            .iter()
            .map(|delta| json!({ "type": "content_block_delta", "index": 0, "delta": delta })),
    );
    events.push(json!({ "type": "content_block_stop", "index": 0 }));
    events.push(json!({ "type": "message_delta", "delta": { "stop_reason": stop_reason, "stop_sequence": null },
                        "usage": { "output_tokens": 2 } }));
    events.push(json!({ "type": "message_stop" }));
    sse(&events)
}

fn anthropic_text(text: &str) -> Answer {
    let delta = json!({ "type": "text_delta", "text": text });
    anthropic(&json!({ "type": "text", "text": "" }), &[delta], "end_turn")
}

fn anthropic_call(command: &str) -> Answer {
    let input = json!({ "command": command }).to_string();
    let (head, tail) = input.split_at(5);
    let delta = |text: &str| json!({ "type": "input_json_delta", "partial_json": text });
    anthropic(
        &json!({ "type": "tool_use", "id": "toolu_1", "name": "shell_command", "input": {} }),
        &[delta(head), delta(tail)],
        "tool_use",
    )
}

fn gemini(part: &Value) -> Answer {
    sse(&[json!({
        "candidates": [{ "content": { "role": "model", "parts": [part] }, "finishReason": "STOP", "index": 0 }],
        "usageMetadata": { "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2,
                           "totalTokenCount": 12 },
        "modelVersion": "gemini-2.5-pro", "responseId": "g1",
    })])
}

fn gemini_text(text: &str) -> Answer {
    gemini(&json!({ "text": text }))
}

fn gemini_call(command: &str) -> Answer {
    gemini(&json!({ "functionCall": { "name": "shell_command", "args": { "command": command } } }))
}

fn gateway(provider: &Provider, speaks: &Speaks) -> Gateway {
    Gateway::config(&provider.config(speaks.wire_api, speaks.model))
        .env("SCRIPTED_KEY", "canary-key")
        .start()
}

async fn ask(gateway: &Gateway, prompt: &str) -> Value {
    gateway.post("/api/v1/exec", json!({ "prompt": prompt, "session_id": "s" })).await.json()
}

#[tokio::test]
async fn each_wire_carries_text_tools_and_history() {
    for speaks in &WIRES {
        let wire = speaks.wire_api;
        let provider = Provider::start([
            (speaks.text)("Good morning."),
            (speaks.call)("echo from-the-tool"),
            (speaks.text)("It said so."),
        ])
        .await;
        let gateway = gateway(&provider, speaks);
        let first = ask(&gateway, "my number is 7331").await;
        assert_eq!(first["status"], "completed", "{wire}: {first}");
        assert_eq!(first["task_result"]["summary"], "Good morning.", "{wire}");
        assert_eq!(first["usage"]["input_tokens"], 10, "{wire}: {first}");
        assert_eq!(first["usage"]["cached_input_tokens"], 4, "{wire}: {first}");

        let second = ask(&gateway, "use a tool").await;
        assert_eq!(second["status"], "completed", "{wire}: {second}");
        assert_eq!(second["task_result"]["summary"], "It said so.", "{wire}");
        assert!(second["stdout"].as_str().unwrap().contains("from-the-tool"), "{wire}: {second}");

        let asked = provider.asked();
        assert_eq!(asked.len(), 3, "{wire}");
        let last = asked[2].body.to_string();
        for part in ["my number is 7331", "Good morning.", "use a tool", "from-the-tool"] {
            assert!(last.contains(part), "{wire} lost {part}: {last}");
        }
        for one in &asked {
            assert_eq!(one.path, speaks.path);
            assert_eq!(one.headers[speaks.key_header.0], speaks.key_header.1, "{wire}");
        }
        assert_eq!(
            provider.connections.load(Ordering::SeqCst),
            1,
            "{wire}: one connection for all calls"
        );
        let log = gateway.log.lock().unwrap().clone();
        assert!(!log.contains("canary") && log.contains("model call"), "{wire}");
    }
}

#[tokio::test]
async fn each_wire_asks_again_when_the_provider_is_busy() {
    for speaks in &WIRES {
        let busy = Answer {
            headers: vec![("retry-after", "0")],
            ..status(429, &json!({ "error": { "message": "slow down" } }))
        };
        let unavailable = status(503, &json!({ "error": { "message": "later" } }));
        let provider = Provider::start([busy, unavailable, (speaks.text)("At last.")]).await;
        let answer = ask(&gateway(&provider, speaks), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "At last.", "{}: {answer}", speaks.wire_api);
        assert_eq!(provider.asked().len(), 3);
    }
}

#[tokio::test]
async fn each_wire_says_what_failed_and_never_the_key() {
    for speaks in &WIRES {
        let wire = speaks.wire_api;
        let expired = json!({ "error": { "code": 401, "status": "UNAUTHENTICATED", "type": "authentication_error",
                                         "message": "invalid key canary-key" } });
        let cut = Answer { end: End::Cut, body: String::new(), ..(speaks.text)("x") };
        let provider = Provider::start([status(401, &expired)]).await;
        let gateway = gateway(&provider, speaks);
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
        provider.now(cut);
        let broken = ask(&gateway, "hello again").await;
        assert_eq!(broken["status"], "failed", "{wire}: {broken}");
        provider.now((speaks.text)("Back."));
        let back = ask(&gateway, "once more").await;
        assert_eq!(back["task_result"]["summary"], "Back.", "{wire}: {back}");
    }
}

#[tokio::test]
async fn a_cancellation_drops_the_providers_stream_at_once() {
    for speaks in &WIRES {
        let hangs = Answer { end: End::Hang, body: ": hello\n\n".into(), ..(speaks.text)("x") };
        let provider = Provider::start([hangs, (speaks.text)("Free again.")]).await;
        let gateway = gateway(&provider, speaks);
        let mut stream =
            gateway.stream("/exec", &[], json!({ "prompt": "hello", "session_id": "s" })).await;
        eventually("the provider is asked", || async { provider.open.load(Ordering::SeqCst) == 1 })
            .await;
        gateway.rpc("conversation.cancel", json!({ "session_id": "s" })).await;
        assert_eq!(stream.events().await.last().unwrap()["msg"]["type"], "turn_aborted");
        eventually("the provider is left", || async { provider.open.load(Ordering::SeqCst) == 0 })
            .await;
        let answer = ask(&gateway, "and now?").await;
        assert_eq!(
            answer["task_result"]["summary"], "Free again.",
            "{}: {answer}",
            speaks.wire_api
        );
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_named() {
    let speaks = &WIRES[1];
    let provider = Provider::start([(speaks.text)("Here.")]).await;
    let config = provider.config(speaks.wire_api, speaks.model);
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
async fn nothing_but_core_gets_into_the_bridge() {
    let gateway = Gateway::start();
    gateway.post("/api/v1/exec", json!({ "prompt": "say: x" })).await;
    // Its port is not announced: every other port that the process listens on is tried.
    let ports = listening(gateway.child.id());
    let others: Vec<u16> =
        ports.into_iter().filter(|port| *port != gateway.address.port()).collect();
    assert!(!others.is_empty(), "the bridge listens");
    for port in others {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        for headers in [&[][..], &[("authorization", "Bearer guess")]] {
            let path = "/demo/v1/responses";
            let reply =
                crate::support::client::request(address, "POST", path, headers, b"{}".to_vec())
                    .await;
            assert_eq!(reply.status, 401);
        }
    }
}

/// The TCP ports that a process listens on.
fn listening(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter_map(|link| {
            let link = link.display().to_string();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]);
            listens.then(|| u16::from_str_radix(fields[1].split_once(':').unwrap().1, 16).unwrap())
        })
        .collect()
}
