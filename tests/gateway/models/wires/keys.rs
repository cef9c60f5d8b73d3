//! Secrecy of a provider's keys, over every wire and transport.

use serde_json::json;

use super::connections::trusting;
use crate::support::dialects::DIALECTS;
use crate::support::provider::Provider;
use crate::support::provider::Transport;
use crate::support::provider::status;

#[tokio::test]
async fn keys_never_reach_clients_logs_or_commands() {
    for (dialect, transport) in DIALECTS.iter().zip([
        Transport::Plain,
        Transport::Tls,
        Transport::TlsH2,
        Transport::Plain,
        Transport::TlsH2,
    ]) {
        let wire = dialect.name();
        // The command also reads the processes around it.
        let look = dialect.call("env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; echo looked");
        let echo = "your headers were canary-key, canary-written and canary-extra";
        let echoes =
            status(400, &json!({ "error": { "code": 400, "message": echo, "status": "X" } }));
        let provider =
            Provider::over(transport, [look, dialect.text("Nothing there."), echoes]).await;
        let mut setup = trusting(dialect, &provider)
            .env("RUST_LOG", "trace")
            .env("PROVIDER_EXTRA", "canary-extra");
        setup.config.push_str(
            "http_headers = { \"x-written\" = \"canary-written\" }\n\
             env_http_headers = { \"x-extra\" = \"PROVIDER_EXTRA\" }\n",
        );
        let gateway = setup.start();
        let events = gateway.exec(json!({ "prompt": "look around", "session_id": "s" })).await;
        let seen = json!(events).to_string();
        assert!(seen.contains("looked") && seen.contains("Nothing there."), "{wire}: {seen}");
        assert_clean(&wire, &seen);
        let refused = gateway.exec(json!({ "prompt": "again", "session_id": "s" })).await;
        let refused = json!(refused).to_string();
        assert!(refused.contains("your headers were"), "{wire}: {refused}");
        assert_clean(&wire, &refused);
        let status = gateway.get("/health").await.text();
        assert_clean(&wire, &status);
        for request in provider.requests() {
            assert_eq!(request.headers[dialect.key_header.0], dialect.key_header.1, "{wire}");
            assert_eq!(request.headers["x-written"], "canary-written", "{wire}");
            assert_eq!(request.headers["x-extra"], "canary-extra", "{wire}");
            assert_clean(&wire, &format!("{} {}", request.path, request.body));
        }
        // The log is verbose.
        let log = gateway.logged("DEBUG").await;
        assert_clean(&wire, &log);
    }
}

/// Asserts that the text holds no key. The failure shows the surrounding text.
fn assert_clean(wire: &str, text: &str) {
    let Some(at) = text.find("canary") else { return };
    let from = text.floor_char_boundary(at.saturating_sub(300));
    let to = text.floor_char_boundary(text.len().min(at + 100));
    panic!("{wire}: a key is exposed: {}", &text[from..to]);
}
