//! Answers of the scripted providers, as the official SDKs read them.

use serde_json::Value;
use serde_json::json;

use super::Sdks;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::Part;
use crate::support::dialects::gemini_blocked;
use crate::support::dialects::responses_too_long_in_stream;
use crate::support::dialects::shell;
use crate::support::merged;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::provider::status;

const SEAL: &str = "+/+/c2VhbA==";
const PATCH: &str = "*** Begin Patch\n*** Add File: täst\n+\"\\n\"\n*** End Patch\n";

/// One answer, and its expected reading by the SDK.
struct Case {
    name: &'static str,
    answer: Answer,
    expected: Value,
}

/// The words of a wire's SDK for the scripted answers.
struct Words {
    whole: &'static str,
    called: &'static str,
    length: &'static str,
    refused: &'static str,
    usage: Value,
    /// The class of its error for a refused request.
    bad_request: &'static str,
    /// The class and status of its error for a failure in the stream.
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
            // Without cached tokens.
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

/// Encodes a call as the wire's SDK reads it.
fn called(dialect: &Dialect, id: &str, name: &str, arguments: &Value) -> Value {
    let id = if dialect.model == "gemini-2.5-pro" { Value::Null } else { json!(id) };
    let arguments = match dialect.wire_api {
        "responses" | "chat" => json!(arguments.to_string()),
        _ => arguments.clone(),
    };
    json!({ "id": id, "name": name, "arguments": arguments })
}

/// Encodes the expected reading of a complete answer, which differs from an empty one in `members`.
fn read(words: &Words, stop: &str, members: Value) -> Value {
    let empty = json!({ "text": "", "reasoning": "", "seal": null, "tool_calls": [], "refusal": null,
                        "stop": stop, "usage": words.usage, "error": null });
    merged(empty, members)
}

/// Encodes the expected reading of an error.
fn failed(status: u16, class: &str, message: &str) -> Value {
    json!({ "text": "", "reasoning": "", "seal": null, "tool_calls": [], "refusal": null, "stop": null,
            "usage": null, "error": { "status": status, "class": class, "message": message } })
}

fn case(name: &'static str, answer: Answer, expected: Value) -> Case {
    Case { name, answer, expected }
}

fn cases(dialect: &Dialect) -> Vec<Case> {
    let words = words(dialect.wire_api);
    let mut cases = texts(dialect, &words);
    cases.extend(tools(dialect, &words));
    cases.extend(failures(dialect, &words));
    cases.extend(special(dialect, &words));
    cases
}

fn texts(dialect: &Dialect, words: &Words) -> Vec<Case> {
    let many: Vec<String> = (0..2000).map(|number| format!("{number} – ")).collect();
    // Gemini gives no reason.
    let why = if dialect.wire_api == "gemini" { Value::Null } else { json!("I will not do that.") };
    vec![
        case("text", dialect.text("Grüße."), read(words, words.whole, json!({ "text": "Grüße." }))),
        case(
            "a thought, then text",
            dialect.thought("Let me see.", SEAL, Part::Text(vec!["So: ".into(), "yes.".into()])),
            read(
                words,
                words.whole,
                json!({ "reasoning": "Let me see.", "seal": SEAL, "text": "So: yes." }),
            ),
        ),
        case(
            "a refusal",
            dialect.refusal("I will not do that."),
            read(words, words.refused, json!({ "refusal": why })),
        ),
        case(
            "the limit",
            dialect.truncated("So far"),
            read(words, words.length, json!({ "text": "So far" })),
        ),
        case(
            "many deltas",
            dialect.deltas(many.clone()),
            read(words, words.whole, json!({ "text": many.concat() })),
        ),
    ]
}

fn tools(dialect: &Dialect, words: &Words) -> Vec<Case> {
    let shell_call = |id: &str, command: &str| {
        called(dialect, id, "shell_command", &json!({ "command": command }))
    };
    let patch = match dialect.wire_api {
        "responses" => json!({ "id": "call_p", "name": "apply_patch", "arguments": PATCH }),
        _ => called(dialect, "call_p", "apply_patch", &json!({ "input": PATCH })),
    };
    let read = |members: Value| read(words, words.called, members);
    vec![
        case(
            "a call",
            dialect.call("echo \"ä\""),
            read(json!({ "tool_calls": [shell_call("call_1", "echo \"ä\"")] })),
        ),
        case(
            "two calls",
            dialect.say(&[shell("call_1", "echo 1"), shell("call_2", "echo 2")]),
            read(
                json!({ "tool_calls": [shell_call("call_1", "echo 1"), shell_call("call_2", "echo 2")] }),
            ),
        ),
        case("a patch", dialect.patch(PATCH), read(json!({ "tool_calls": [patch] }))),
        case(
            "a thought, then a call",
            dialect.thought("Let me see.", SEAL, shell("call_1", "ls")),
            read(
                json!({ "reasoning": "Let me see.", "seal": SEAL, "tool_calls": [shell_call("call_1", "ls")] }),
            ),
        ),
    ]
}

fn failures(dialect: &Dialect, words: &Words) -> Vec<Case> {
    let mut midway = failed(0, words.overloaded.0, "verloaded or had an error");
    midway["error"]["status"] = words.overloaded.1.clone();
    if dialect.wire_api == "gemini" {
        // The SDK joins nothing, so earlier chunks have been read.
        midway["text"] = json!("Half");
        midway["usage"] = words.usage.clone();
    }
    let slow = status(429, &json!({ "error": { "message": "slow down" } }));
    let limited = if dialect.wire_api == "gemini" { "ClientError" } else { "RateLimitError" };
    vec![
        case(
            "too long a prompt",
            dialect.too_long(),
            failed(400, words.bad_request, "too long or exceeds or maximum context"),
        ),
        case("a failure in the stream", dialect.fails_midway("Half"), midway),
        case("too many requests", slow, failed(429, limited, "slow down")),
    ]
}

/// Cases of a single wire.
fn special(dialect: &Dialect, words: &Words) -> Option<Case> {
    match dialect.wire_api {
        // The API sends this code and core knows it, but the SDK's types do not list it.
        "responses" => Some(case(
            "too long a prompt, reported in the stream",
            responses_too_long_in_stream(),
            failed(
                200,
                "APIResponseValidationError",
                "answer.ResponseFailedEvent.response.error.code: Input should be",
            ),
        )),
        "gemini" => Some(case(
            "a blocked prompt",
            gemini_blocked(),
            read(
                words,
                "PROHIBITED_CONTENT",
                json!({ "refusal": "PROHIBITED_CONTENT",
                        "usage": { "input": 10, "cached": null, "output": null, "reasoning": null } }),
            ),
        )),
        _ => None,
    }
}

#[tokio::test]
async fn sdks_read_every_scripted_answer() {
    let Some(sdks) = Sdks::installed().await else { return };
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let cases = cases(dialect);
        let provider = Provider::start(cases.iter().map(|case| case.answer.clone())).await;
        let base_url = match dialect.wire_api {
            "responses" | "chat" => format!("{}/v1", provider.address),
            _ => provider.address.clone(),
        };
        let read = sdks.answers(dialect.wire_api, &base_url, dialect.model, cases.len()).await;
        for (case, mut read) in cases.into_iter().zip(read) {
            let Case { name, mut expected, .. } = case;
            // The message must contain one of the alternatives.
            let says = expected["error"]["message"].take();
            let said = read["error"]["message"].take();
            if let (Some(says), Some(said)) = (says.as_str(), said.as_str()) {
                assert!(says.split(" or ").any(|one| said.contains(one)), "{wire}: {name}: {said}");
            }
            assert_eq!(read, expected, "{wire}: {name}: {said}");
        }
        // The SDKs use the same path and key header as the bridge.
        for request in provider.requests() {
            assert_eq!(request.path, dialect.path, "{wire}");
            let (name, key) = match dialect.wire_api {
                // Since version 2 of the SDK; the API still accepts `x-api-key`.
                "anthropic" => ("authorization", "Bearer canary-key"),
                _ => dialect.key_header,
            };
            assert_eq!(request.headers[name], key, "{wire}");
        }
    }
}
