//! Images, over every wire, in the provider's own form.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::support::PIXEL;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Part;
use crate::support::provider::Provider;

#[tokio::test]
async fn prompt_image_reaches_the_provider() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider = Provider::start([dialect.text("Red.")]).await;
        let gateway = dialect.gateway(&provider);
        let image = format!("data:image/png;base64,{PIXEL}");
        let body = json!({ "prompt": "which colour?", "images": [image] });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert_eq!(answer["task_result"]["summary"], "Red.", "{wire}: {answer}");
        let request = &provider.requests()[0].body;
        assert_eq!(dialect.images(request), [image], "{wire}: {request}");
        assert!(request.to_string().contains("which colour?"), "{wire}");
    }
}

#[tokio::test]
async fn tool_image_reaches_the_provider() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let look = Part::Call {
            id: "call_v",
            name: "view_image",
            arguments: json!({ "path": "red.png" }),
        };
        let provider = Provider::start([dialect.say(&[look]), dialect.text("Red.")]).await;
        let gateway = dialect.gateway(&provider);
        std::fs::create_dir_all(gateway.workspaces().join("w")).unwrap();
        std::fs::write(
            gateway.workspaces().join("w/red.png"),
            BASE64_STANDARD.decode(PIXEL).unwrap(),
        )
        .unwrap();
        let body = json!({ "prompt": "look", "cwd": "w" });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert_eq!(answer["task_result"]["summary"], "Red.", "{wire}: {answer}");
        let request = &provider.requests()[1].body;
        assert_eq!(dialect.answered_calls(request)[0].name, "view_image", "{wire}");
        let images = dialect.images(request);
        assert_eq!(images.len(), 1, "{wire}: {request}");
        assert!(images[0].starts_with("data:image/png;base64,"), "{wire}: {images:?}");
    }
}
