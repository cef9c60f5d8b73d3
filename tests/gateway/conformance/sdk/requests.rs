//! Requests of the bridge in turns of the real core, against the request types of the official
//! SDKs.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::Sdks;
use crate::support::PIXEL;
use crate::support::catalogue::with_catalogue;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::Part;
use crate::support::dialects::shell;
use crate::support::gateway::Setup;
use crate::support::merged;
use crate::support::provider::Provider;
use crate::support::provider::RecordedRequest;

const SEAL: &str = "+/+/c2VhbA==";
const PATCH: &str = "*** Begin Patch\n*** Add File: notes.md\n+# Notes\n*** End Patch\n";

/// Returns the dialects of the other tests, and models that need other requests.
fn dialects() -> Vec<Dialect> {
    let mut all = DIALECTS.to_vec();
    for model in ["claude-opus-4-7", "claude-opus-5-1"] {
        let mut newer = DIALECTS[2];
        assert_eq!(newer.wire_api, "anthropic");
        newer.model = model;
        all.push(newer);
    }
    all
}

/// Runs a conversation whose history holds every kind of item, by a core that is configured with
/// `extra` and optionally knows the model. Returns the requests to the provider.
async fn converse(dialect: &Dialect, extra: &str, known: bool) -> Vec<RecordedRequest> {
    let look =
        Part::Call { id: "call_v", name: "view_image", arguments: json!({ "path": "red.png" }) };
    let both = [
        Part::Thought { text: "Two things.".to_owned(), seal: SEAL },
        shell("call_1", "echo the-first"),
        shell("call_2", "echo the-second; false"),
    ];
    let provider = Provider::start([
        dialect.text("Red."),
        dialect.say(&both),
        dialect.thought("A patch.", SEAL, Part::Text(vec!["Now a patch.".into()])),
        dialect.patch(PATCH),
        dialect.say(&[look]),
        dialect.text("Patched, and seen."),
        dialect.text("{\"city\":\"Bern\"}"),
        dialect.refusal("I will not do that."),
        dialect.text("Still here."),
    ])
    .await;
    let setup = dialect.setup(&provider);
    let setup = Setup { config: format!("{extra}{}", setup.config), ..setup };
    let (_catalogue, setup) = if known {
        let (file, setup) = with_catalogue(dialect.model, setup);
        (Some(file), setup)
    } else {
        (None, setup)
    };
    let gateway = setup.start();
    let folder = gateway.workspaces().join("w");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("red.png"), BASE64_STANDARD.decode(PIXEL).unwrap()).unwrap();
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } },
                         "required": ["city"], "additionalProperties": false });
    let image = format!("data:image/png;base64,{PIXEL}");
    for (prompt, more) in [
        ("which colour?", json!({ "images": [image], "cwd": "w" })),
        ("do two things", json!({})),
        ("patch and look", json!({})),
        ("which capital?", json!({ "output_schema": schema })),
        ("do what is forbidden", json!({})),
        ("and now?", json!({})),
    ] {
        let body = merged(json!({ "prompt": prompt, "session_id": "s" }), more);
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert!(answer["status"].is_string(), "{}: {prompt}: {answer}", dialect.name());
    }
    let requests = provider.requests();
    assert_eq!(requests.len(), 9, "{}: the script was used completely", dialect.name());
    requests
}

#[tokio::test]
async fn sdk_types_accept_bridge_requests() {
    let Some(sdks) = Sdks::installed().await else { return };
    for dialect in dialects() {
        let wire = dialect.name();
        let plain = converse(&dialect, "", false).await;
        let effort = "model_reasoning_effort = \"high\"\nmodel_reasoning_summary = \"detailed\"\n";
        let thinking = converse(&dialect, effort, true).await;
        // Every kind of item has been sent.
        let sent = thinking.last().unwrap().body.to_string() + &thinking[6].body.to_string();
        for part in [PIXEL, SEAL, "the-second", "Add File: notes.md", "city"] {
            assert!(sent.contains(part), "{wire}: no {part}: {sent}");
        }
        let mut lines = String::new();
        for one in plain.iter().chain(&thinking) {
            let beta = one.headers.get("anthropic-beta").map(|beta| beta.to_str().unwrap());
            let line = json!({ "path": one.path, "beta": beta, "body": one.body });
            writeln!(lines, "{line}").unwrap();
        }
        let (succeeded, said) = sdks.check(&["request", dialect.wire_api], &lines).await;
        assert!(succeeded, "{wire}:\n{said}");
    }
}
