//! The provider that core calls itself, with Codex's own key or login.

use serde_json::json;

use super::text_answer;
use crate::support::Gateway;
use crate::support::client::kinds;
use crate::support::provider::Provider;

/// Core first tries a WebSocket; it must change to HTTP without its five retries.
#[tokio::test]
async fn first_turn_does_not_reconnect() {
    let provider = Provider::start([text_answer("Hello."), text_answer("Again.")]).await;
    let config = format!("model = \"gpt-5\"\nopenai_base_url = \"{}/v1\"\n", provider.address);
    let gateway = Gateway::config(&config).env("CODEX_API_KEY", "canary-key").start();
    let prompt = json!({ "prompt": "hello", "session_id": "s" });
    let events = gateway.exec(prompt.clone()).await;
    assert!(!kinds(&events).contains(&"stream_error"), "{events:?}");
    gateway.exec(prompt).await;
    let requests = provider.requests();
    let turns: Vec<_> = requests.iter().filter(|request| request.method == "POST").collect();
    assert_eq!(turns.len(), 2, "{requests:?}");
    assert!(turns.iter().all(|turn| turn.path == "/v1/responses"), "{requests:?}");
    assert_eq!(turns[0].headers["authorization"], "Bearer canary-key");
}
