//! The shape of an answer: JSON of a schema, and very many deltas.

use serde_json::json;

use crate::support::provider::Provider;
use crate::support::wires::WIRES;

#[tokio::test]
async fn requested_schema_reaches_the_provider() {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } },
                         "required": ["city"], "additionalProperties": false });
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.text("{\"city\":\"Bern\"}")]).await;
        let gateway = speaks.gateway(&provider);
        let body = json!({ "prompt": "which capital?", "output_schema": schema });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        let summary = answer["task_result"]["summary"].as_str().unwrap();
        let said: serde_json::Value = serde_json::from_str(summary).unwrap();
        assert_eq!(said, json!({ "city": "Bern" }), "{wire}");
        let asked = &provider.asked()[0].body;
        if speaks.model.starts_with("gemini-2") {
            // It takes no schema beside tools: it is told in words.
            let system = asked["systemInstruction"].to_string();
            assert!(system.contains("valid against this JSON Schema"), "{system}");
            assert!(system.contains("\\\"city\\\""), "{system}");
        } else {
            assert_eq!(speaks.schema(asked), Some(&schema), "{wire}: {asked}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_deltas_arrive_in_order() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let deltas: Vec<String> = (0..10_000).map(|number| format!("{number} ")).collect();
        let provider = Provider::start([speaks.deltas(deltas.clone())]).await;
        let gateway = speaks.gateway(&provider);
        let events = gateway.exec(json!({ "prompt": "count" })).await;
        let of = |kind: &str, member: &str| -> String {
            let all = events.iter().filter(|event| event["msg"]["type"] == kind);
            all.map(|event| event["msg"][member].as_str().unwrap()).collect()
        };
        let whole = deltas.concat();
        assert!(of("agent_message_content_delta", "delta") == whole, "{wire}: deltas differ");
        assert!(of("agent_message", "message") == whole, "{wire}: the message differs");
        assert_eq!(events.last().unwrap()["msg"]["type"], "task_complete", "{wire}");
    }
}
