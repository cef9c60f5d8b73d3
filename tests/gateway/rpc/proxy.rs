//! `bff.proxy`: calls to configured upstreams.

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::Gateway;
use crate::support::closed_port;
use crate::support::provider::Answer;
use crate::support::provider::End;
use crate::support::provider::Provider;
use crate::support::provider::RecordedRequest;
use crate::support::provider::status;

/// Returns the configuration of an upstream.
fn table(name: &str, url: &str, more: &str) -> String {
    format!("[gateway.proxy.{name}]\nurl = \"{url}\"\n{more}\n")
}

const PRIVATE: &str = "allow_private = true";

async fn call(gateway: &Gateway, params: Value) -> Value {
    gateway.rpc("bff.proxy", params).await
}

/// Answers one connection with these bytes. Returns the address.
async fn raw(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await;
        let _ = socket.write_all(answer).await;
        let _ = socket.shutdown().await;
    });
    address
}

/// Asserts that the upstream received the caller's request with the headers of the upstream.
fn assert_forwarded(upstream: &Provider, request: &RecordedRequest) {
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/base/users/7?a=1&n=1&n=2&q=b%20c")
    );
    assert_eq!(request.body, json!({ "name": "x" }));
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap());
    for (name, expected) in [
        ("x-mine", Some("yes")),
        ("x-fixed", Some("1")),
        ("authorization", Some("Bearer upstreams")),
        ("content-type", Some("application/json")),
        ("host", upstream.address.strip_prefix("http://")),
        ("x-hop", None),
        ("connection", None),
        ("transfer-encoding", None),
        ("x-api-key", None),
        ("cookie", None),
    ] {
        assert_eq!(header(name), expected, "{name}");
    }
    assert_eq!(request.headers.get_all("x-many").iter().count(), 2);
}

#[tokio::test]
async fn call_carries_the_upstream_headers() {
    let upstream = Provider::start([status(200, &json!({ "ok": true }))]).await;
    let base = format!("{}/base/", upstream.address);
    let more = format!(
        "{PRIVATE}\nheaders = {{ x-fixed = \"1\" }}\nenv_headers = {{ authorization = \"UPSTREAM\" }}"
    );
    let gateway = Gateway::config(&table("api", &base, &more))
        .env("UPSTREAM", "Bearer upstreams")
        .env("GATEWAY_API_KEY", "canary-key")
        .start();
    let params = json!({
        "endpoint": "api/users/7?a=1", "method": "POST",
        "headers": {
            "X-Mine": "yes", "Authorization": "Bearer mine", "Connection": "x-hop", "X-Hop": "1",
            "Host": "elsewhere.example", "Transfer-Encoding": "chunked", "X-Many": ["1", "2"],
        },
        "query": { "n": [1, 2], "q": "b c" },
        "body": { "name": "x" },
    });
    let key = [("x-api-key", "canary-key"), ("cookie", "canary-cookie")];
    let answer = gateway.rpc_with(&key, "bff.proxy", params).await;
    let result = &answer["result"];
    assert_eq!(result["status"], 200, "{answer}");
    assert_eq!(
        (&result["body"], &result["body_encoding"]),
        (&json!("{\"ok\":true}"), &json!("text"))
    );
    assert!(!answer.to_string().contains("upstreams"));

    assert_forwarded(&upstream, &upstream.requests()[0]);

    let own = json!({ "endpoint": "api/x", "method": "GET", "headers": { "X-Token": "Bearer canary-key" } });
    let refused = gateway.rpc_with(&key, "bff.proxy", own).await;
    assert_eq!(refused["error"]["code"], -32602);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("headers.x-token") && !message.contains("canary"), "{message}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn bodies_are_text_json_or_base64_both_ways() {
    let upstream = Provider::start([status(200, &json!("x"))]).await;
    let gateway = Gateway::config(&table("api", &upstream.address, PRIVATE)).start();
    for (body, encoding, sent, content_type) in [
        (json!("[1]"), "text", json!([1]), Some("text/plain; charset=utf-8")),
        (json!([1, { "a": null }]), "text", json!([1, { "a": null }]), Some("application/json")),
        (json!(7), "text", json!(7), Some("application/json")),
        (json!("WzFd"), "base64", json!([1]), Some("application/octet-stream")),
        (Value::Null, "text", Value::Null, None),
    ] {
        let params =
            json!({ "endpoint": "api", "method": "PUT", "body": body, "body_encoding": encoding });
        assert_eq!(call(&gateway, params).await["result"]["status"], 200);
        let request = upstream.requests().pop().unwrap();
        assert_eq!(request.body, sent);
        let found = request.headers.get("content-type").map(|value| value.to_str().unwrap());
        assert_eq!(found, content_type);
    }
    let binary =
        raw(b"HTTP/1.1 203 X\r\ncontent-length: 3\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
          set-cookie: a=1\r\nset-cookie: b=2\r\nkeep-alive: timeout=5\r\n\r\n\xff\x00a")
        .await;
    let gateway = Gateway::config(&table("raw", &binary, PRIVATE)).start();
    let answer = call(&gateway, json!({ "endpoint": "raw", "method": "GET" })).await;
    let result = &answer["result"];
    assert_eq!(
        (&result["status"], &result["body"], &result["body_encoding"]),
        (&json!(203), &json!("/wBh"), &json!("base64"))
    );
    assert_eq!(result["headers"], json!({ "content-length": "3", "set-cookie": ["a=1", "b=2"] }));
}

#[tokio::test]
async fn redirects_are_returned_not_followed() {
    let elsewhere = Provider::start([status(200, &json!({}))]).await;
    let location: &'static str = format!("{}/x", elsewhere.address).leak();
    let answer = Answer {
        status: 302,
        headers: vec![("location", location)],
        body: String::new(),
        end: End::Proper,
    };
    let upstream = Provider::start([answer]).await;
    let gateway = Gateway::config(&table("api", &upstream.address, PRIVATE)).start();
    let answer = call(&gateway, json!({ "endpoint": "api/", "method": "GET" })).await;
    assert_eq!(answer["result"]["status"], 302);
    assert_eq!(answer["result"]["headers"]["location"], location);
    assert!(elsewhere.requests().is_empty());
}

/// Asserts that no endpoint outside the configured upstreams is called.
async fn assert_endpoints_refused(gateway: &Gateway, address: &str, elsewhere: &str) {
    let port = address.rsplit_once(':').unwrap().1;
    for (endpoint, code) in [
        ("nobody/x", -32003),
        ("", -32602),
        ("/x", -32003),
        ("API/x", -32003),
        (&*format!("{elsewhere}/base/x"), -32003),
        (&*format!("{address}/"), -32003),
        (&*format!("{address}/base2/x"), -32003),
        (&*format!("https{}/base/x", address.strip_prefix("http").unwrap()), -32003),
        (&*format!("http://127.0.0.2:{port}/base/x"), -32003),
        (&*format!("http://2130706433:{port}/base/x"), -32003),
        (&*format!("{address}/base/../x"), -32602),
        (&*format!("{address}/base/%2e%2e/x"), -32602),
        (&*format!("{address}/base/%252e%252e/x"), -32602),
        (&*format!("{address}@{}/base/", elsewhere.strip_prefix("http://").unwrap()), -32602),
        (&*format!("http://user@127.0.0.1:{port}/base/"), -32602),
        (&*format!("{address}\\@evil.example/base/"), -32602),
        ("api/../x", -32602),
        ("api/%2e%2e/x", -32602),
        ("api/..%2fx", -32602),
        ("api//x", -32602),
        ("api/a\\b", -32602),
        ("api/a b", -32602),
        ("api/x#y", -32602),
        ("api#y", -32602),
        ("ftp://127.0.0.1/", -32602),
        ("file:///etc/passwd", -32602),
        ("closed/", -32003),
        ("named/", -32003),
        ("mapped/", -32003),
    ] {
        let answer = call(gateway, json!({ "endpoint": endpoint, "method": "GET" })).await;
        assert_eq!(answer["error"]["code"], code, "{endpoint}: {answer}");
        assert!(!answer["error"]["data"]["detail"].as_str().unwrap().is_empty());
    }
}

/// Asserts that the methods of an upstream are limited, and that invalid ones are refused.
async fn assert_methods_refused(gateway: &Gateway, base: &str) {
    // The longest prefix decides.
    for (endpoint, method, code) in [
        ("read/x", "POST", -32003),
        (&*format!("{base}read/x"), "DELETE", -32003),
        ("api/x", "CONNECT", -32602),
        ("api/x", "TRACE", -32602),
        ("api/x", "", -32602),
        ("api/x", "G T", -32602),
    ] {
        let answer = call(gateway, json!({ "endpoint": endpoint, "method": method })).await;
        assert_eq!(answer["error"]["code"], code, "{method} {endpoint}: {answer}");
    }
}

#[tokio::test]
async fn only_configured_upstreams_are_called() {
    let upstream = Provider::start([status(200, &json!({}))]).await;
    let other = Provider::start([status(200, &json!({}))]).await;
    let address = &upstream.address;
    let port = address.rsplit_once(':').unwrap().1;
    let base = format!("{address}/base/");
    let read = format!("{PRIVATE}\nmethods = [\"GET\", \"HEAD\"]");
    let config = [
        table("api", &base, PRIVATE),
        table("read", &format!("{base}read"), &read),
        table("closed", &format!("http://127.0.0.1:{port}/closed/"), ""),
        table("named", &format!("http://localhost:{port}/x/"), ""),
        table("mapped", &format!("http://[::ffff:127.0.0.1]:{port}/"), ""),
    ];
    let gateway = Gateway::config(&config.concat()).start();
    for endpoint in ["api", "api/", "api/x", "api?x=1", &base, &format!("{base}x?y=1")] {
        let answer = call(&gateway, json!({ "endpoint": endpoint, "method": "GET" })).await;
        assert_eq!(answer["result"]["status"], 200, "{endpoint}: {answer}");
    }
    let requests = upstream.requests();
    assert_eq!(
        requests.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(),
        ["/base/", "/base/", "/base/x", "/base/?x=1", "/base/", "/base/x?y=1"]
    );
    assert_endpoints_refused(&gateway, address, &other.address).await;
    let answer = call(&gateway, json!({ "endpoint": "closed/", "method": "GET" })).await;
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("gateway.proxy.closed.allow_private")
    );
    assert_methods_refused(&gateway, &base).await;
    assert_eq!(upstream.requests().len(), requests.len(), "no refused call was sent");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn response_is_bounded_in_size_and_time() {
    let large = Answer { status: 200, headers: vec![], body: "x".repeat(5000), end: End::Proper };
    let hanging = Answer { end: End::Hang, ..large.clone() };
    let cut = Answer { end: End::Cut, ..large.clone() };
    let (large, hanging, cut) = (
        Provider::start([large]).await,
        Provider::start([hanging]).await,
        Provider::start([cut]).await,
    );
    let (_gone, gone) = closed_port();
    let gone_address = format!("http://{gone}");
    let small = format!("{PRIVATE}\nmax_response_bytes = 4999");
    let config = [
        table("large", &large.address, &small),
        table("enough", &large.address, &format!("{PRIVATE}\nmax_response_bytes = 5000")),
        table("hanging", &hanging.address, &format!("{PRIVATE}\ntimeout_ms = 500")),
        table("cut", &cut.address, PRIVATE),
        table("gone", &gone_address, PRIVATE),
    ];
    let gateway = Gateway::config(&config.concat()).start();
    for (endpoint, code, says) in [
        ("large", -32006, "at most 4999 bytes"),
        ("hanging", -32005, "within 500 ms"),
        ("cut", -32006, "broke"),
        ("gone", -32006, "could not be reached"),
    ] {
        let answer = call(&gateway, json!({ "endpoint": endpoint, "method": "GET" })).await;
        assert_eq!(answer["error"]["code"], code, "{endpoint}: {answer}");
        let detail = answer["error"]["data"]["detail"].as_str().unwrap();
        assert!(detail.contains(says) && !detail.contains("127.0.0.1"), "{endpoint}: {detail}");
    }
    let answer = call(&gateway, json!({ "endpoint": "enough", "method": "GET" })).await;
    assert_eq!(answer["result"]["body"].as_str().unwrap().len(), 5000);
}

#[tokio::test]
async fn invalid_call_names_field_and_expectation() {
    let gateway = Gateway::start();
    let answer = call(&gateway, json!({ "endpoint": "api", "method": "GET" })).await;
    assert_eq!(answer["error"]["code"], -32003);
    assert!(answer["error"]["message"].as_str().unwrap().contains("[gateway.proxy.NAME]"));

    let gateway = Gateway::config(&table("api", "http://127.0.0.1:1/", PRIVATE)).start();
    let with = |member: &str, value: Value| {
        let mut params = json!({ "endpoint": "api", "method": "GET" });
        params[member] = value;
        params
    };
    for (params, says) in [
        (json!({ "method": "GET" }), "endpoint"),
        (json!({ "endpoint": "api" }), "method"),
        (with("endpoint", json!(7)), "endpoint"),
        (with("method", json!(7)), "method"),
        (with("method", json!("G T")), "method: expected"),
        (with("headers", json!([])), "headers"),
        (with("headers", json!({ "a b": "x" })), "headers.a b: expected the name"),
        (with("headers", json!({ "a": 7 })), "headers.a: expected a string"),
        (with("headers", json!({ "a": "x\r\ny: z" })), "headers.a: expected the value"),
        (with("query", json!(7)), "query: expected"),
        (with("query", json!("a b")), "query: expected a percent-encoded"),
        (with("query", json!({ "a": {} })), "query.a: expected"),
        (with("body_encoding", json!("gzip")), "body_encoding"),
        (
            json!({ "endpoint": "api", "method": "PUT", "body": "§", "body_encoding": "base64" }),
            "body: expected base64",
        ),
        (
            json!({ "endpoint": "api", "method": "PUT", "body": {}, "body_encoding": "base64" }),
            "body: expected a string of base64",
        ),
    ] {
        gateway.assert_rpc_error("bff.proxy", params, -32602, says).await;
    }
}
