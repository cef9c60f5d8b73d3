//! What the bridge sends in turns of the real core, against the request types of the official SDKs.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::Sdks;
use crate::support::PIXEL;
use crate::support::catalogue::knowing;
use crate::support::gateway::Setup;
use crate::support::provider::Asked;
use crate::support::provider::Provider;
use crate::support::wires::Part;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;
use crate::support::wires::shell;

const SEAL: &str = "+/+/c2VhbA==";
const PATCH: &str = "*** Begin Patch\n*** Add File: notes.md\n+# Notes\n*** End Patch\n";

/// The wires of the other tests, and models that are asked otherwise.
fn spoken() -> Vec<Speaks> {
    let mut all = WIRES.to_vec();
    for model in ["claude-opus-4-7", "claude-opus-5-1"] {
        let mut newer = WIRES[2];
        assert_eq!(newer.wire_api, "anthropic");
        newer.model = model;
        all.push(newer);
    }
    all
}

/// What a provider was asked in one conversation with all that a history can hold, by a core that is
/// configured with `extra` and that knows the model or does not.
async fn converse(speaks: &Speaks, extra: &str, known: bool) -> Vec<Asked> {
    let look =
        Part::Call { id: "call_v", name: "view_image", arguments: json!({ "path": "red.png" }) };
    let both = [
        Part::Thought { text: "Two things.".to_owned(), seal: SEAL },
        shell("call_1", "echo the-first"),
        shell("call_2", "echo the-second; false"),
    ];
    let provider = Provider::start([
        speaks.text("Red."),
        speaks.say(&both),
        speaks.thought("A patch.", SEAL, Part::Text(vec!["Now a patch.".into()])),
        speaks.patch(PATCH),
        speaks.say(&[look]),
        speaks.text("Patched, and seen."),
        speaks.text("{\"city\":\"Bern\"}"),
        speaks.refusal("I will not do that."),
        speaks.text("Still here."),
    ])
    .await;
    let setup = speaks.setup(&provider);
    let setup = Setup { config: format!("{extra}{}", setup.config), ..setup };
    let (_catalogue, setup) = if known {
        let (file, setup) = knowing(speaks.model, setup);
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
        let mut body = json!({ "prompt": prompt, "session_id": "s" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert!(answer["status"].is_string(), "{}: {prompt}: {answer}", speaks.name());
    }
    let asked = provider.asked();
    assert_eq!(asked.len(), 9, "{}: the script was played to its end", speaks.name());
    asked
}

#[tokio::test]
async fn sdk_types_accept_bridge_requests() {
    let Some(sdks) = Sdks::installed().await else { return };
    for speaks in spoken() {
        let wire = speaks.name();
        let plain = converse(&speaks, "", false).await;
        let effort = "model_reasoning_effort = \"high\"\nmodel_reasoning_summary = \"detailed\"\n";
        let thinking = converse(&speaks, effort, true).await;
        // All that was to be judged has been sent.
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
        let (content, said) = sdks.check(&["request", speaks.wire_api], &lines).await;
        assert!(content, "{wire}:\n{said}");
    }
}
