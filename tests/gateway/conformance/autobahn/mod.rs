//! The connection below `GET /ws`, as an echo server, against the Autobahn test suite (RFC 6455):
//! some 500 cases of a client that breaks every rule. `run.sh` installs the suite and runs this
//! test; without the suite it is skipped with a message.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Stdio;

use codex_gateway::ws::connection;
use codex_gateway::ws::connection::Close;
use codex_gateway::ws::connection::Received;
use codex_gateway::ws::outbox;
use codex_gateway::ws::outbox::Outbox;
use hyper::service::service_fn;
use hyper_tungstenite::tungstenite::Message;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;

/// The largest messages of the suite have 16 MiB.
const LIMIT: usize = 64 << 20;

struct Echo(Outbox);

impl connection::Receive for Echo {
    async fn receive(&mut self, message: Received) -> ControlFlow<Close> {
        let message = match message {
            Received::Text(text) => Message::Text(text),
            Received::Binary(bytes) => Message::Binary(bytes),
        };
        let _ = self.0.put(message).await;
        ControlFlow::Continue(())
    }
}

async fn echo(listener: TcpListener) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let service = service_fn(|mut request| async move {
            let config = connection::config(LIMIT);
            let (response, upgraded) =
                hyper_tungstenite::upgrade(&mut request, Some(config)).unwrap();
            tokio::spawn(async move {
                let (outbox, outgoing) = outbox::channel();
                let stream = upgraded.await.unwrap();
                connection::serve(stream, outgoing, Echo(outbox), std::future::pending()).await;
            });
            Ok::<_, Infallible>(response)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        tokio::spawn(connection);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_autobahn_case_passes() {
    let Some(wstest) = std::env::var_os("GATEWAY_WSTEST") else {
        eprintln!(
            "SKIPPED: GATEWAY_WSTEST names no wstest: see tests/gateway/conformance/autobahn/run.sh"
        );
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(echo(listener));
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("spec.json");
    let text = include_str!("spec.json")
        .replace("PORT", &port.to_string())
        .replace("FOLDER", folder.path().join("reports").to_str().unwrap());
    std::fs::write(&spec, text).unwrap();
    let output = Command::new(wstest)
        .args(["-m", "fuzzingclient", "-s"])
        .arg(&spec)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    echo.abort();
    let said = String::from_utf8_lossy(&output.stdout);
    let last: Vec<&str> = said.lines().rev().take(10).collect();
    let index = folder.path().join("reports/index.json");
    assert!(
        output.status.success() && index.exists(),
        "wstest: {} {last:?} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    check_report(&index);
}

/// Prints the counts of the report and fails on any failed case.
fn check_report(index: &Path) {
    let index = std::fs::read(index).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let cases = index["codex-gateway"].as_object().unwrap();
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, case) in cases {
        for part in ["behavior", "behaviorClose"] {
            let found = case[part].as_str().unwrap();
            *counts.entry((part, found)).or_insert(0) += 1;
            let fine = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"].contains(&found);
            if !fine {
                wrong.push(json!({ "case": name, part: found, "close": case["remoteCloseCode"] }));
            }
            if found == "NON-STRICT" {
                println!("{name}: {part} {found}");
            }
        }
    }
    println!("{} cases: {counts:?}", cases.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases.len() > 300, "the suite ran {} cases only", cases.len());
}
