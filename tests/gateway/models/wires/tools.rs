//! Tools over every wire: several calls in one answer, and patches.

use serde_json::json;
use tempfile::NamedTempFile;

use crate::support::catalogue::knowing;
use crate::support::gateway::Setup;
use crate::support::provider::Provider;
use crate::support::wires::Part;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;
use crate::support::wires::ask;
use crate::support::wires::shell;

/// What a provider wants back with a thought.
const SEAL: &str = "+/+/c2VhbC1vZi10aGUtZmlyc3Q=";

const PATCH: &str = "*** Begin Patch\n*** Add File: notes/täst.md\n+# \"Notes\"\n+\\n is no line feed\n*** End Patch\n";
const WRITTEN: &str = "# \"Notes\"\n\\n is no line feed\n";

#[tokio::test]
async fn parallel_calls_get_their_own_results() {
    for speaks in &WIRES {
        let wire = speaks.name();
        // Each waits for the other: core runs both at once.
        let meet = |own: &str, other: &str| {
            format!("touch {own}; until [ -e {other} ]; do sleep 0.05; done; echo the-{own}")
        };
        let both = speaks.say(&[
            shell("call_1", &meet("first", "second")),
            shell("call_2", &meet("second", "first")),
        ]);
        let provider = Provider::start([both, speaks.text("Both ran.")]).await;
        let (_catalogue, setup) = offered(speaks, speaks.setup(&provider));
        let answer = ask(&setup.start(), "do two things").await;
        assert_eq!(answer["task_result"]["summary"], "Both ran.", "{wire}: {answer}");
        assert_eq!(answer["steps_completed"], 2, "{wire}: {answer}");
        let asked = provider.asked();
        assert_eq!(asked.len(), 2, "{wire}");
        let called = speaks.called(&asked[1].body);
        let results: Vec<&str> = called.iter().map(|call| call.result.as_str()).collect();
        assert!(
            matches!(results[..], [first, second]
                if first.contains("the-first") && !first.contains("the-second")
                    && second.contains("the-second") && !second.contains("the-first")),
            "{wire}: {called:?}"
        );
        assert!(called.iter().all(|call| call.name == "shell_command"), "{wire}: {called:?}");
    }
}

/// What agents do most: think, say what they are about to do, and do several things at once.
#[tokio::test]
async fn reasoning_text_and_calls_return_together() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let all = speaks.say(&[
            Part::Thought { text: "Two files.".into(), seal: SEAL },
            Part::Text(vec!["I look at ".into(), "both.".into()]),
            shell("call_1", "echo the-first"),
            shell("call_2", "echo the-second; exit 3"),
        ]);
        let provider = Provider::start([all, speaks.text("Seen."), speaks.text("Again.")]).await;
        let mut setup = speaks.setup(&provider);
        setup.config = format!("model_reasoning_effort = \"high\"\n{}", setup.config);
        let gateway = setup.start();
        let events = gateway.exec(json!({ "prompt": "look", "session_id": "s" })).await;
        let said: Vec<&str> = events
            .iter()
            .filter(|event| event["msg"]["type"] == "agent_message")
            .map(|event| event["msg"]["message"].as_str().unwrap())
            .collect();
        assert_eq!(said, ["I look at both.", "Seen."], "{wire}");
        assert_eq!(ask(&gateway, "and?").await["task_result"]["summary"], "Again.", "{wire}");
        for request in [1, 2] {
            let body = &provider.asked()[request].body;
            let called = speaks.called(body);
            assert!(
                called[0].result.contains("the-first") && called[1].result.contains("the-second"),
                "{wire}: {called:?}"
            );
            assert!(called[1].result.contains("Exit code: 3"), "{wire}: {called:?}");
            let sent = body.to_string();
            for once in [SEAL, "I look at both."] {
                assert_eq!(sent.matches(once).count(), 1, "{wire}: {once} in {sent}");
            }
        }
    }
}

#[tokio::test]
async fn patch_is_applied_and_its_result_returned() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.patch(PATCH), speaks.text("Patched.")]).await;
        let (_catalogue, setup) = offered(speaks, speaks.setup(&provider));
        let gateway = setup.start();
        let body = json!({ "prompt": "write", "cwd": "w" });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert_eq!(answer["task_result"]["summary"], "Patched.", "{wire}: {answer}");
        let written = std::fs::read_to_string(gateway.workspaces().join("w/notes/täst.md"));
        assert_eq!(written.unwrap(), WRITTEN, "{wire}");
        assert_eq!(answer["files_created"], json!(["notes/täst.md"]), "{wire}: {answer}");
        let asked = provider.asked();
        assert!(speaks.offered(&asked[0].body).contains(&"apply_patch".to_owned()), "{wire}");
        let called = speaks.called(&asked[1].body);
        assert!(
            called[0].name == "apply_patch" && called[0].result.contains("notes/täst.md"),
            "{wire}: {called:?}"
        );
        // What the model wrote stands in the history as it wrote it.
        let quoted = json!(PATCH).to_string();
        let twice = json!(json!({ "input": PATCH }).to_string()).to_string();
        let sent = asked[1].body.to_string();
        assert!(sent.contains(&quoted) || sent.contains(&twice), "{wire}: {sent}");
    }
}

/// Whatever a model is called, and wherever it is named: in a request, by an alias, as a fallback's stand-in.
#[tokio::test]
async fn unknown_model_gets_patches_and_parallel_calls() {
    for speaks in WIRES.iter().filter(|speaks| speaks.wire_api != "responses") {
        let wire = speaks.name();
        let provider = Provider::start([speaks.text("Hello.")]).await;
        let mut setup = speaks.setup(&provider);
        setup.config.push_str("[gateway.models]\nshort = \"scripted/vendor/never-heard-of-1\"\n");
        let gateway = setup.start();
        for named in ["never-heard-of-2", "short"] {
            let body = json!({ "prompt": "hello", "model": named, "session_id": named });
            let events = gateway.exec(body).await;
            let last = &events.last().unwrap()["msg"];
            assert_eq!(last["last_agent_message"], "Hello.", "{wire}: {last}");
            let told = events.iter().any(|event| event["msg"]["type"] == "warning");
            assert!(!told, "{wire}: core warns of a model that it does not know: {events:?}");
        }
        // A turn may name a model of its own.
        let body = json!({ "prompt": "and?", "model": "never-heard-of-3", "session_id": "short" });
        gateway.post("/api/v1/exec", body).await.json();
        let asked = provider.asked();
        assert_eq!(asked.len(), 3, "{wire}");
        for one in &asked {
            let named = format!("{} {}", one.path, one.body["model"]);
            assert!(named.contains("never-heard-of"), "{wire}: {named}");
            assert!(
                speaks.offered(&one.body).contains(&"apply_patch".to_owned()),
                "{wire}: {named}"
            );
            let sequential = one.body["parallel_tool_calls"] == false
                || one.body["tool_choice"]["disable_parallel_tool_use"] == true;
            assert!(!sequential, "{wire}: {named}");
        }
    }
}

/// Over the Responses API core offers a model that its catalogue does not know no freeform tool.
fn offered(speaks: &Speaks, setup: Setup) -> (Option<NamedTempFile>, Setup) {
    if speaks.wire_api != "responses" {
        return (None, setup);
    }
    let (catalogue, setup) = knowing(speaks.model, setup);
    (Some(catalogue), setup)
}

/// Models call `apply_patch` from the shell, too, where they are not offered it: core's instructions speak of it all the
/// same.
#[tokio::test]
async fn shell_patch_is_applied() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let command = format!("apply_patch <<'EOF'\n{PATCH}EOF\n");
        let provider = Provider::start([speaks.call(&command), speaks.text("Patched.")]).await;
        let gateway = speaks.gateway(&provider);
        let body = json!({ "prompt": "write", "cwd": "w" });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        assert_eq!(answer["task_result"]["summary"], "Patched.", "{wire}: {answer}");
        let written = std::fs::read_to_string(gateway.workspaces().join("w/notes/täst.md"));
        assert_eq!(written.unwrap(), WRITTEN, "{wire}");
        assert_eq!(answer["files_created"], json!(["notes/täst.md"]), "{wire}: {answer}");
    }
}
