//! What the official SDKs read in the answers of the scripted providers.

use serde_json::Value;
use serde_json::json;

use super::Sdks;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::provider::status;
use crate::support::wires::Part;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;
use crate::support::wires::gemini_blocked;
use crate::support::wires::responses_too_long_in_the_stream;
use crate::support::wires::shell;

const SEAL: &str = "+/+/c2VhbA==";
const PATCH: &str = "*** Begin Patch\n*** Add File: täst\n+\"\\n\"\n*** End Patch\n";

/// One answer, and what an SDK must read in it.
struct Case {
    name: &'static str,
    answer: Answer,
    expected: Value,
}

/// How a wire's SDK names what we script.
struct Words {
    whole: &'static str,
    called: &'static str,
    length: &'static str,
    refused: &'static str,
    usage: Value,
    /// The class of its error for a request that is refused.
    bad_request: &'static str,
    /// The class and status of its error where the provider gives up midway.
    overloaded: (&'static str, Value),
}

fn words(wire_api: &str) -> Words {
    let usage = |input: u32, reasoning: Value| json!({ "input": input, "cached": 4, "output": 2, "reasoning": reasoning });
    match wire_api {
        "responses" => Words {
            whole: "completed",
            called: "completed",
            length: "incomplete",
            refused: "completed",
            usage: usage(10, json!(0)),
            bad_request: "BadRequestError",
            overloaded: ("server_error", Value::Null),
        },
        "chat" => Words {
            whole: "stop",
            called: "tool_calls",
            length: "length",
            refused: "stop",
            usage: usage(10, json!(0)),
            bad_request: "BadRequestError",
            overloaded: ("APIError", Value::Null),
        },
        "anthropic" => Words {
            whole: "end_turn",
            called: "tool_use",
            length: "max_tokens",
            refused: "refusal",
            // What was cached is not in it.
            usage: usage(6, Value::Null),
            bad_request: "BadRequestError",
            overloaded: ("APIStatusError", json!(200)),
        },
        "gemini" => Words {
            whole: "STOP",
            called: "STOP",
            length: "MAX_TOKENS",
            refused: "SAFETY",
            usage: usage(10, Value::Null),
            bad_request: "ClientError",
            overloaded: ("ServerError", json!(503)),
        },
        other => panic!("no such wire: {other}"),
    }
}

/// A call as the wire's SDK shows it.
fn called(speaks: &Speaks, id: &str, name: &str, arguments: &Value) -> Value {
    let id = if speaks.model == "gemini-2.5-pro" { Value::Null } else { json!(id) };
    let arguments = match speaks.wire_api {
        "responses" | "chat" => json!(arguments.to_string()),
        _ => arguments.clone(),
    };
    json!({ "id": id, "name": name, "arguments": arguments })
}

fn cases(speaks: &Speaks) -> Vec<Case> {
    let Words { whole, called: tool_stop, length, refused, usage, bad_request, overloaded } =
        words(speaks.wire_api);
    let read = |stop: &str, differs: Value| {
        let mut all = json!({ "text": "", "reasoning": "", "seal": null, "tool_calls": [], "refusal": null,
                              "stop": stop, "usage": usage, "error": null });
        all.as_object_mut().unwrap().extend(differs.as_object().unwrap().clone());
        all
    };
    let case = |name, answer, expected| Case { name, answer, expected };
    let shell_call = |id: &str, command: &str| {
        called(speaks, id, "shell_command", &json!({ "command": command }))
    };
    let patch = match speaks.wire_api {
        "responses" => json!({ "id": "call_p", "name": "apply_patch", "arguments": PATCH }),
        _ => called(speaks, "call_p", "apply_patch", &json!({ "input": PATCH })),
    };
    let many: Vec<String> = (0..2000).map(|number| format!("{number} – ")).collect();
    // Gemini has no word for why.
    let why = if speaks.wire_api == "gemini" { Value::Null } else { json!("I will not do that.") };
    let failed = |status: u16, class: &str, says: &str| {
        json!({ "text": "", "reasoning": "", "seal": null, "tool_calls": [], "refusal": null, "stop": null,
                "usage": null, "error": { "status": status, "class": class, "message": says } })
    };
    let mut midway = failed(0, overloaded.0, "verloaded or had an error");
    midway["error"]["status"] = overloaded.1;
    if speaks.wire_api == "gemini" {
        // It joins nothing, so what came before is there.
        midway["text"] = json!("Half");
        midway["usage"] = usage.clone();
    }
    let slow = status(429, &json!({ "error": { "message": "slow down" } }));
    let limited = if speaks.wire_api == "gemini" { "ClientError" } else { "RateLimitError" };
    let mut cases = vec![
        case("text", speaks.text("Grüße."), read(whole, json!({ "text": "Grüße." }))),
        case(
            "a call",
            speaks.call("echo \"ä\""),
            read(tool_stop, json!({ "tool_calls": [shell_call("call_1", "echo \"ä\"")] })),
        ),
        case(
            "two calls",
            speaks.say(&[shell("call_1", "echo 1"), shell("call_2", "echo 2")]),
            read(
                tool_stop,
                json!({ "tool_calls": [shell_call("call_1", "echo 1"), shell_call("call_2", "echo 2")] }),
            ),
        ),
        case("a patch", speaks.patch(PATCH), read(tool_stop, json!({ "tool_calls": [patch] }))),
        case(
            "a thought, then a call",
            speaks.thought("Let me see.", SEAL, shell("call_1", "ls")),
            read(
                tool_stop,
                json!({ "reasoning": "Let me see.", "seal": SEAL, "tool_calls": [shell_call("call_1", "ls")] }),
            ),
        ),
        case(
            "a thought, then text",
            speaks.thought("Let me see.", SEAL, Part::Text(vec!["So: ".into(), "yes.".into()])),
            read(whole, json!({ "reasoning": "Let me see.", "seal": SEAL, "text": "So: yes." })),
        ),
        case(
            "a refusal",
            speaks.refusal("I will not do that."),
            read(refused, json!({ "refusal": why })),
        ),
        case("the limit", speaks.length("So far"), read(length, json!({ "text": "So far" }))),
        case(
            "many deltas",
            speaks.deltas(many.clone()),
            read(whole, json!({ "text": many.concat() })),
        ),
        case(
            "too long a prompt",
            speaks.too_long(),
            failed(400, bad_request, "too long or exceeds or maximum context"),
        ),
        case("a provider that gives up", speaks.gives_up("Half"), midway),
        case("too many requests", slow, failed(429, limited, "slow down")),
    ];
    match speaks.wire_api {
        // The code is the API's (core knows it), but the SDK's types do not list it: that much is refused.
        "responses" => cases.push(case(
            "too long a prompt, said in the stream",
            responses_too_long_in_the_stream(),
            failed(
                200,
                "APIResponseValidationError",
                "answer.ResponseFailedEvent.response.error.code: Input should be",
            ),
        )),
        "gemini" => cases.push(case(
            "a blocked prompt",
            gemini_blocked(),
            read(
                "PROHIBITED_CONTENT",
                json!({ "refusal": "PROHIBITED_CONTENT",
                        "usage": { "input": 10, "cached": null, "output": null, "reasoning": null } }),
            ),
        )),
        _ => {}
    }
    cases
}

#[tokio::test]
async fn sdks_read_every_scripted_answer() {
    let Some(sdks) = Sdks::installed().await else { return };
    for speaks in &WIRES {
        let wire = speaks.name();
        let cases = cases(speaks);
        let provider = Provider::start(cases.iter().map(|case| case.answer.clone())).await;
        let base_url = match speaks.wire_api {
            "responses" | "chat" => format!("{}/v1", provider.address),
            _ => provider.address.clone(),
        };
        let heard = sdks.answers(speaks.wire_api, &base_url, speaks.model, cases.len()).await;
        for (case, mut heard) in cases.into_iter().zip(heard) {
            let Case { name, mut expected, .. } = case;
            // Of a message, what counts is in it.
            let says = expected["error"]["message"].take();
            let said = heard["error"]["message"].take();
            if let (Some(says), Some(said)) = (says.as_str(), said.as_str()) {
                assert!(says.split(" or ").any(|one| said.contains(one)), "{wire}: {name}: {said}");
            }
            assert_eq!(heard, expected, "{wire}: {name}: {said}");
        }
        // They ask where the bridge asks, and show the key as it does.
        for asked in provider.asked() {
            assert_eq!(asked.path, speaks.path, "{wire}");
            let (name, key) = match speaks.wire_api {
                // Since its version 2; the API takes the key in `x-api-key` as before.
                "anthropic" => ("authorization", "Bearer canary-key"),
                _ => speaks.key_header,
            };
            assert_eq!(asked.headers[name], key, "{wire}");
        }
    }
}
