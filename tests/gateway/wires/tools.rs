//! Tools over every wire: several calls in one answer, and patches.

use serde_json::json;

use crate::support::catalogue::knowing;
use crate::support::provider::Provider;
use crate::support::wires::Part;
use crate::support::wires::WIRES;
use crate::support::wires::ask;
use crate::support::wires::shell;

/// What a provider wants back with a thought.
const SEAL: &str = "+/+/c2VhbC1vZi10aGUtZmlyc3Q=";

const PATCH: &str = "*** Begin Patch\n*** Add File: notes/täst.md\n+# \"Notes\"\n+\\n is no line feed\n*** End Patch\n";
const WRITTEN: &str = "# \"Notes\"\n\\n is no line feed\n";

#[tokio::test]
async fn two_calls_of_one_answer_get_their_own_results() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let both = speaks.say(&[
            shell("call_1", "sleep 0.2; echo the-first"),
            shell("call_2", "echo the-second"),
        ]);
        let provider = Provider::start([both, speaks.text("Both ran.")]).await;
        let answer = ask(&speaks.gateway(&provider), "do two things").await;
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
async fn thoughts_words_and_calls_of_one_answer_go_back_together() {
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
async fn a_patch_is_applied_and_its_outcome_told() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.patch(PATCH), speaks.text("Patched.")]).await;
        let (_catalogue, setup) = knowing(speaks.model, speaks.setup(&provider));
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

/// Core offers no `apply_patch` to a model that its catalogue does not know; its instructions speak of it all the same, and
/// such models call it from the shell.
#[tokio::test]
async fn a_patch_in_the_shell_is_applied_too() {
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
