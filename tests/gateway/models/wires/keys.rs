//! A provider's keys stay between the bridge and the provider.

use serde_json::json;

use super::connections::trusting;
use crate::support::provider::Provider;
use crate::support::provider::Transport;
use crate::support::provider::status;
use crate::support::wires::WIRES;

#[tokio::test]
async fn keys_never_reach_clients_logs_or_commands() {
    for (speaks, transport) in WIRES.iter().zip([
        Transport::Plain,
        Transport::Tls,
        Transport::TlsH2,
        Transport::Plain,
        Transport::TlsH2,
    ]) {
        let wire = speaks.name();
        // Also from the processes around it.
        let look = speaks.call("env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; echo looked");
        let echo = "your headers were canary-key, canary-written and canary-extra";
        let echoes =
            status(400, &json!({ "error": { "code": 400, "message": echo, "status": "X" } }));
        let provider =
            Provider::over(transport, [look, speaks.text("Nothing there."), echoes]).await;
        let mut setup = trusting(speaks, &provider)
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
        for asked in provider.asked() {
            assert_eq!(asked.headers[speaks.key_header.0], speaks.key_header.1, "{wire}");
            assert_eq!(asked.headers["x-written"], "canary-written", "{wire}");
            assert_eq!(asked.headers["x-extra"], "canary-extra", "{wire}");
            assert_clean(&wire, &format!("{} {}", asked.path, asked.body));
        }
        let log = gateway.log.lock().unwrap().clone();
        assert!(log.contains("DEBUG"), "{wire}: everything is logged");
        assert_clean(&wire, &log);
    }
}

/// No key stands in the text; where one does, what stands around it is shown.
fn assert_clean(wire: &str, text: &str) {
    let Some(at) = text.find("canary") else { return };
    let from = text.floor_char_boundary(at.saturating_sub(300));
    let to = text.floor_char_boundary(text.len().min(at + 100));
    panic!("{wire}: a key is told: {}", &text[from..to]);
}
