//! Shapes of answers, over every wire: JSON with a schema, and many deltas.

use serde_json::json;

use crate::support::dialects::DIALECTS;
use crate::support::provider::Provider;

#[tokio::test]
async fn requested_schema_reaches_the_provider() {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } },
                         "required": ["city"], "additionalProperties": false });
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider = Provider::start([dialect.text("{\"city\":\"Bern\"}")]).await;
        let gateway = dialect.gateway(&provider);
        let body = json!({ "prompt": "which capital?", "output_schema": schema });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        let summary = answer["task_result"]["summary"].as_str().unwrap();
        let said: serde_json::Value = serde_json::from_str(summary).unwrap();
        assert_eq!(said, json!({ "city": "Bern" }), "{wire}");
        let request = &provider.requests()[0].body;
        if dialect.model.starts_with("gemini-2") {
            // Gemini 2 takes no schema beside tools: the instructions hold it.
            let system = request["systemInstruction"].to_string();
            assert!(system.contains("valid against this JSON Schema"), "{system}");
            assert!(system.contains("\\\"city\\\""), "{system}");
        } else {
            assert_eq!(dialect.schema(request), Some(&schema), "{wire}: {request}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_deltas_arrive_in_order() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let deltas: Vec<String> = (0..10_000).map(|number| format!("{number} ")).collect();
        let provider = Provider::start([dialect.deltas(deltas.clone())]).await;
        let gateway = dialect.gateway(&provider);
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
