//! The specification of JSON-RPC 2.0, row by row, over `POST /jsonrpc` and over `GET /ws`.

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::Socket;

/// The answer to a message.
enum Expected {
    Nothing,
    /// An error with this id whose message holds these words.
    Error(Value, i32, &'static str),
    /// A result with this id.
    Result(Value),
    /// A batch of answers, in this order.
    Batch(Vec<Expected>),
}

use Expected::Batch;
use Expected::Error;
use Expected::Nothing;
use Expected::Result;

type Row = (String, Expected);

/// The parameters of a call that succeeds.
const FINE: &str = r#"{"session_id":"nobody"}"#;

fn call(id: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"conversation.status","params":{params}}}"#)
}

fn notification() -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"conversation.status","params":{FINE}}}"#)
}

fn unknown_method(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"foobar"}}"#)
}

fn prompt(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"conversation.prompt","params":{{{members}}}}}"#)
}

/// An array nested deeper than the parser allows.
fn deep_array() -> String {
    format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))
}

fn table() -> Vec<Row> {
    [ids(), params(), errors(), batches()].into_iter().flatten().collect()
}

/// Section 4: an id is a string, a number or null. A message without one gets no answer, not even
/// an error.
fn ids() -> Vec<Row> {
    vec![
        (call("\"a\"", FINE), Result(json!("a"))),
        (call("\"\"", FINE), Result(json!(""))),
        (call("7", FINE), Result(json!(7))),
        (call("-1", FINE), Result(json!(-1))),
        (call("1.5", FINE), Result(json!(1.5))),
        (call("9007199254740993", FINE), Result(json!(9_007_199_254_740_993_u64))),
        (call("null", FINE), Result(Value::Null)),
        (notification(), Nothing),
        (r#"{"jsonrpc":"2.0","method":"foobar"}"#.into(), Nothing),
        (r#"{"jsonrpc":"2.0","method":"conversation.status","params":["x"]}"#.into(), Nothing),
        (call("true", FINE), Error(Value::Null, -32600, "id: expected a string")),
        (call("{}", FINE), Error(Value::Null, -32600, "id: expected a string")),
        (call("[1]", FINE), Error(Value::Null, -32600, "id: expected a string")),
        (format!(" \r\n\t{} ", call("1", FINE)), Result(json!(1))),
    ]
}

/// Section 4.2: params by position are refused; null is equivalent to absent.
fn params() -> Vec<Row> {
    let deep = deep_array();
    vec![
        (call("1", r#"["nobody"]"#), Error(json!(1), -32602, "named params")),
        (call("1", "[]"), Error(json!(1), -32602, "named params")),
        (call("1", "\"x\""), Error(json!(1), -32600, "params: expected an object")),
        (call("1", "null"), Error(json!(1), -32602, "session_id or conversation_id")),
        (call("1", r#"{"session_id":7}"#), Error(json!(1), -32602, "session_id: ")),
        (call("1", r#"{"session_id":"a","session_id":"b"}"#), Error(json!(1), -32602, "it once")),
        (call("1", r#"{"session_id":"\ud800"}"#), Error(json!(1), -32602, "session_id: expected")),
        (prompt(r#""prompt":"x","images":[7]"#), Error(json!(1), -32602, "images[0]: ")),
        (prompt(r#""prompt":"x","timeout_ms":1e999"#), Error(json!(1), -32602, "got 1e999")),
        (prompt(r#""prompt":"x","sandbox":"none""#), Error(json!(1), -32602, "sandbox: ")),
        (
            prompt(&format!(r#""prompt":"x","output_schema":{{"deep":{deep}}}"#)),
            Error(json!(1), -32602, "recursion"),
        ),
    ]
}

/// Section 5.1: each malformed message gets its code.
fn errors() -> Vec<Row> {
    let deep = deep_array();
    vec![
        (
            "{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": \"bar\", \"baz]".into(),
            Error(Value::Null, -32700, "expected JSON"),
        ),
        ("{} {}".into(), Error(Value::Null, -32700, "expected JSON")),
        (call("1", r#"{"n":NaN}"#), Error(Value::Null, -32700, "expected JSON")),
        (call("1", r#"{"n":Infinity}"#), Error(Value::Null, -32700, "expected JSON")),
        (call("1", "{'a':1}"), Error(Value::Null, -32700, "expected JSON")),
        ("{}".into(), Error(Value::Null, -32600, "jsonrpc: expected")),
        ("null".into(), Error(Value::Null, -32600, "an object")),
        ("\"x\"".into(), Error(Value::Null, -32600, "an object")),
        (format!("[{deep}]"), Batch(vec![Error(Value::Null, -32600, "an object")])),
        (deep.clone(), Batch(vec![Error(Value::Null, -32600, "an object")])),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#.into(), Error(json!(1), -32600, "jsonrpc")),
        (r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#.into(), Error(json!(1), -32600, "jsonrpc")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":1,"params":"bar"}"#.into(),
            Error(json!(1), -32600, "method: expected a string"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#.into(),
            Error(Value::Null, -32600, "duplicate"),
        ),
        (unknown_method("\"1\""), Error(json!("1"), -32601, "conversation.status")),
        (unknown_method("null"), Error(Value::Null, -32601, "conversation.status")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"Conversation.Status"}"#.into(),
            Error(json!(1), -32601, "method: expected one of"),
        ),
    ]
}

/// Section 6: batches.
fn batches() -> Vec<Row> {
    let silent = notification();
    vec![
        ("[]".into(), Error(Value::Null, -32600, "at least one call")),
        ("[1]".into(), Batch(vec![Error(Value::Null, -32600, "an object")])),
        (
            "[1,2,3]".into(),
            Batch(vec![
                Error(Value::Null, -32600, "an object"),
                Error(Value::Null, -32600, "an object"),
                Error(Value::Null, -32600, "an object"),
            ]),
        ),
        ("[[]]".into(), Batch(vec![Error(Value::Null, -32600, "an object")])),
        (
            format!(r#"[["2.0",1,"conversation.status",{FINE}]]"#),
            Batch(vec![Error(Value::Null, -32600, "an object")]),
        ),
        (format!("[{silent},{silent}]"), Nothing),
        (format!("[{},", call("1", FINE)), Error(Value::Null, -32700, "expected JSON")),
        (
            format!(
                r#"[{},{silent},{{"foo":"boo"}},{},{}]"#,
                call("\"1\"", FINE),
                unknown_method("5"),
                call("\"9\"", FINE)
            ),
            Batch(vec![
                Result(json!("1")),
                Error(Value::Null, -32600, "jsonrpc"),
                Error(json!(5), -32601, "method"),
                Result(json!("9")),
            ]),
        ),
        (
            format!("[{}]", vec![call("1", FINE); 100].join(",")),
            Batch((0..100).map(|_| Result(json!(1))).collect()),
        ),
        (
            format!("[{}]", vec![call("1", FINE); 101].join(",")),
            Error(Value::Null, -32600, "at most 100 calls"),
        ),
    ]
}

/// Asserts that there is an answer with this id, and returns it.
fn answer_to<'a>(message: &str, answer: Option<&'a Value>, id: &Value) -> &'a Value {
    let answer = answer.unwrap_or_else(|| panic!("{message}"));
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), id), "{message}: {answer}");
    answer
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
            let answer = answer_to(&message, answer, id);
            assert!(answer.get("result").is_none(), "{message}: {answer}");
            let error = &answer["error"];
            assert_eq!(error["code"], *code, "{message}: {answer}");
            assert!(error["message"].as_str().unwrap().contains(says), "{message}: {answer}");
        }
        Result(id) => {
            let answer = answer_to(&message, answer, id);
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
            // The next answer must belong to the next call.
            let mark = socket.call("conversation.status", json!({ "session_id": "mark" })).await;
            assert_eq!(mark["result"]["session_id"], "mark");
            assert!(socket.notified().is_empty(), "{message}");
            continue;
        }
        check(&message, Some(&socket.json().await), &expected);
    }
}
