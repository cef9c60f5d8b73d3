//! The specification of JSON-RPC 2.0, row by row, over `POST /jsonrpc` and over `GET /ws`.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;

/// What a message is answered with.
enum Expected {
    Nothing,
    /// An error under this id whose detail holds these words.
    Error(Value, i32, &'static str),
    /// A result under this id.
    Result(Value),
    /// A batch of them, in this order.
    Batch(Vec<Expected>),
}

use Expected::Batch;
use Expected::Error;
use Expected::Nothing;
use Expected::Result;

fn table() -> Vec<(String, Expected)> {
    let call = |id: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"conversation.status","params":{params}}}"#)
    };
    let fine = r#"{"session_id":"nobody"}"#;
    let silent = format!(r#"{{"jsonrpc":"2.0","method":"conversation.status","params":{fine}}}"#);
    let unknown = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"foobar"}}"#);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let prompt = |members: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"conversation.prompt","params":{{{members}}}}}"#
        )
    };
    let null = || Value::Null;
    let rows: Vec<(String, Expected)> = vec![
        // Section 4: an id is a string, a number or null; absent, nothing is answered, errors neither.
        (call("\"a\"", fine), Result(json!("a"))),
        (call("\"\"", fine), Result(json!(""))),
        (call("7", fine), Result(json!(7))),
        (call("-1", fine), Result(json!(-1))),
        (call("1.5", fine), Result(json!(1.5))),
        (call("9007199254740993", fine), Result(json!(9_007_199_254_740_993_u64))),
        (call("null", fine), Result(null())),
        (silent.clone(), Nothing),
        (r#"{"jsonrpc":"2.0","method":"foobar"}"#.into(), Nothing),
        (r#"{"jsonrpc":"2.0","method":"conversation.status","params":["x"]}"#.into(), Nothing),
        (call("true", fine), Error(null(), -32600, "id: expected a string")),
        (call("{}", fine), Error(null(), -32600, "id: expected a string")),
        (call("[1]", fine), Error(null(), -32600, "id: expected a string")),
        (format!(" \r\n\t{} ", call("1", fine)), Result(json!(1))),
        // Section 4.2: params by position are refused, null is as good as absent.
        (call("1", r#"["nobody"]"#), Error(json!(1), -32602, "named params")),
        (call("1", "[]"), Error(json!(1), -32602, "named params")),
        (call("1", "\"x\""), Error(json!(1), -32600, "params: expected an object")),
        (call("1", "null"), Error(json!(1), -32602, "session_id or conversation_id")),
        (call("1", r#"{"session_id":7}"#), Error(json!(1), -32602, "session_id: ")),
        (call("1", r#"{"session_id":"a","session_id":"b"}"#), Error(json!(1), -32602, "duplicate")),
        (call("1", r#"{"session_id":"\ud800"}"#), Error(json!(1), -32602, "params: ")),
        (prompt(r#""prompt":"x","images":[7]"#), Error(json!(1), -32602, "images[0]: ")),
        (prompt(r#""prompt":"x","timeout_ms":1e999"#), Error(json!(1), -32602, "out of range")),
        (prompt(r#""prompt":"x","sandbox":"none""#), Error(json!(1), -32602, "sandbox: ")),
        (
            prompt(&format!(r#""prompt":"x","output_schema":{deep}"#)),
            Error(json!(1), -32602, "recursion"),
        ),
        // Section 5.1.
        (
            "{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": \"bar\", \"baz]".into(),
            Error(null(), -32700, "expected JSON"),
        ),
        ("{} {}".into(), Error(null(), -32700, "expected JSON")),
        (call("1", r#"{"n":NaN}"#), Error(null(), -32700, "expected JSON")),
        (call("1", r#"{"n":Infinity}"#), Error(null(), -32700, "expected JSON")),
        (call("1", "{'a':1}"), Error(null(), -32700, "expected JSON")),
        ("{}".into(), Error(null(), -32600, "jsonrpc: expected")),
        ("null".into(), Error(null(), -32600, "an object")),
        ("\"x\"".into(), Error(null(), -32600, "an object")),
        (format!("[{deep}]"), Batch(vec![Error(null(), -32600, "an object")])),
        (deep.clone(), Batch(vec![Error(null(), -32600, "an object")])),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#.into(), Error(json!(1), -32600, "jsonrpc")),
        (r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#.into(), Error(json!(1), -32600, "jsonrpc")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":1,"params":"bar"}"#.into(),
            Error(json!(1), -32600, "method: expected a string"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#.into(),
            Error(null(), -32600, "duplicate"),
        ),
        (unknown("\"1\""), Error(json!("1"), -32601, "conversation.status")),
        (unknown("null"), Error(null(), -32601, "conversation.status")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"Conversation.Status"}"#.into(),
            Error(json!(1), -32601, "method: expected one of"),
        ),
        // Section 6.
        ("[]".into(), Error(null(), -32600, "at least one call")),
        ("[1]".into(), Batch(vec![Error(null(), -32600, "an object")])),
        (
            "[1,2,3]".into(),
            Batch(vec![
                Error(null(), -32600, "an object"),
                Error(null(), -32600, "an object"),
                Error(null(), -32600, "an object"),
            ]),
        ),
        ("[[]]".into(), Batch(vec![Error(null(), -32600, "an object")])),
        (
            format!(r#"[["2.0",1,"conversation.status",{fine}]]"#),
            Batch(vec![Error(null(), -32600, "an object")]),
        ),
        (format!("[{silent},{silent}]"), Nothing),
        (format!("[{},", call("1", fine)), Error(null(), -32700, "expected JSON")),
        (
            format!(
                r#"[{},{silent},{{"foo":"boo"}},{},{}]"#,
                call("\"1\"", fine),
                unknown("5"),
                call("\"9\"", fine)
            ),
            Batch(vec![
                Result(json!("1")),
                Error(null(), -32600, "jsonrpc"),
                Error(json!(5), -32601, "method"),
                Result(json!("9")),
            ]),
        ),
        (
            format!("[{}]", vec![call("1", fine); 100].join(",")),
            Batch((0..100).map(|_| Result(json!(1))).collect()),
        ),
        (
            format!("[{}]", vec![call("1", fine); 101].join(",")),
            Error(null(), -32600, "at most 100 calls"),
        ),
    ];
    rows
}

fn check(message: &str, answer: Option<&Value>, expected: &Expected) {
    let message: String = message.chars().take(200).collect();
    match expected {
        Nothing => assert_eq!(answer, None, "{message}"),
        Batch(expected) => {
            let answers = answer.and_then(Value::as_array).unwrap_or_else(|| panic!("{message}"));
            assert_eq!(answers.len(), expected.len(), "{message}");
            for (answer, expected) in answers.iter().zip(expected) {
                check(&message, Some(answer), expected);
            }
        }
        Error(id, code, says) => {
            let answer = answer.unwrap_or_else(|| panic!("{message}"));
            assert_eq!(
                (&answer["jsonrpc"], &answer["id"]),
                (&json!("2.0"), id),
                "{message}: {answer}"
            );
            assert!(answer.get("result").is_none(), "{message}: {answer}");
            let error = &answer["error"];
            assert_eq!(error["code"], *code, "{message}: {answer}");
            assert!(error["message"].as_str().unwrap().contains(says), "{message}: {answer}");
        }
        Result(id) => {
            let answer = answer.unwrap_or_else(|| panic!("{message}"));
            assert_eq!(
                (&answer["jsonrpc"], &answer["id"]),
                (&json!("2.0"), id),
                "{message}: {answer}"
            );
            assert!(answer.get("error").is_none(), "{message}: {answer}");
            assert_eq!(answer["result"]["status"], "not_found", "{message}: {answer}");
        }
    }
}

#[tokio::test]
async fn http_answers_every_row() {
    let gateway = Gateway::start();
    for (message, expected) in table() {
        let (status, answer) = super::send(&gateway, &message).await;
        let answer = Some(answer).filter(|answer| !answer.is_null());
        assert_eq!(status, if answer.is_some() { 200 } else { 202 });
        check(&message, answer.as_ref(), &expected);
    }
}

#[tokio::test]
async fn websocket_answers_every_row() {
    let gateway = Gateway::start();
    let mut socket = Socket::connect(&gateway, &[]).await;
    for (message, expected) in table() {
        socket.raw(&message).await;
        if matches!(expected, Nothing) {
            // What is answered next is the next message.
            let mark = socket.call("conversation.status", json!({ "session_id": "mark" })).await;
            assert_eq!(mark["result"]["session_id"], "mark");
            assert!(socket.notified().is_empty(), "{message}");
            continue;
        }
        check(&message, Some(&socket.json().await), &expected);
    }
}
