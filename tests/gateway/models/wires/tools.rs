//! Tools, over every wire: parallel calls and patches.

use serde_json::json;
use tempfile::NamedTempFile;

use crate::support::Gateway;
use crate::support::catalogue::with_catalogue;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::Part;
use crate::support::dialects::ask;
use crate::support::dialects::shell;
use crate::support::gateway::Setup;
use crate::support::provider::Provider;

/// The signature that must be sent back with reasoning.
const SEAL: &str = "+/+/c2VhbC1vZi10aGUtZmlyc3Q=";

const PATCH: &str = "*** Begin Patch\n*** Add File: notes/täst.md\n+# \"Notes\"\n+\\n is no line feed\n*** End Patch\n";
const WRITTEN: &str = "# \"Notes\"\n\\n is no line feed\n";

/// Runs a turn that applies the patch, and asserts its outcome.
async fn assert_patches(wire: &str, gateway: &Gateway) {
    let body = json!({ "prompt": "write", "cwd": "w" });
    let answer = gateway.post("/api/v1/exec", body).await.json();
    assert_eq!(answer["task_result"]["summary"], "Patched.", "{wire}: {answer}");
    let written = std::fs::read_to_string(gateway.workspaces().join("w/notes/täst.md"));
    assert_eq!(written.unwrap(), WRITTEN, "{wire}");
    assert_eq!(answer["files_created"], json!(["notes/täst.md"]), "{wire}: {answer}");
}

#[tokio::test]
async fn parallel_calls_get_their_own_results() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        // Each command waits for the other: core must run both at once.
        let meet = |own: &str, other: &str| {
            format!("touch {own}; until [ -e {other} ]; do sleep 0.05; done; echo the-{own}")
        };
        let both = dialect.say(&[
            shell("call_1", &meet("first", "second")),
            shell("call_2", &meet("second", "first")),
        ]);
        let provider = Provider::start([both, dialect.text("Both ran.")]).await;
        let (_catalogue, setup) = with_patch_tool(dialect, dialect.setup(&provider));
        let answer = ask(&setup.start(), "do two things").await;
        assert_eq!(answer["task_result"]["summary"], "Both ran.", "{wire}: {answer}");
        assert_eq!(answer["steps_completed"], 2, "{wire}: {answer}");
        let requests = provider.requests();
        assert_eq!(requests.len(), 2, "{wire}");
        let called = dialect.answered_calls(&requests[1].body);
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

/// The most common answer of agents: reasoning, text, and several calls.
#[tokio::test]
async fn reasoning_text_and_calls_return_together() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let all = dialect.say(&[
            Part::Thought { text: "Two files.".into(), seal: SEAL },
            Part::Text(vec!["I look at ".into(), "both.".into()]),
            shell("call_1", "echo the-first"),
            shell("call_2", "echo the-second; exit 3"),
        ]);
        let provider = Provider::start([all, dialect.text("Seen."), dialect.text("Again.")]).await;
        let mut setup = dialect.setup(&provider);
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
            let body = &provider.requests()[request].body;
            let called = dialect.answered_calls(body);
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
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let provider = Provider::start([dialect.patch(PATCH), dialect.text("Patched.")]).await;
        let (_catalogue, setup) = with_patch_tool(dialect, dialect.setup(&provider));
        let gateway = setup.start();
        assert_patches(&wire, &gateway).await;
        let requests = provider.requests();
        assert!(dialect.offered(&requests[0].body).contains(&"apply_patch".to_owned()), "{wire}");
        let called = dialect.answered_calls(&requests[1].body);
        assert!(
            called[0].name == "apply_patch" && called[0].result.contains("notes/täst.md"),
            "{wire}: {called:?}"
        );
        // The history holds the patch exactly as the model wrote it.
        let quoted = json!(PATCH).to_string();
        let twice = json!(json!({ "input": PATCH }).to_string()).to_string();
        let sent = requests[1].body.to_string();
        assert!(sent.contains(&quoted) || sent.contains(&twice), "{wire}: {sent}");
    }
}

/// Applies to every unknown model, named in a request or by an alias.
#[tokio::test]
async fn unknown_model_gets_patches_and_parallel_calls() {
    for dialect in DIALECTS.iter().filter(|dialect| dialect.wire_api != "responses") {
        let wire = dialect.name();
        let provider = Provider::start([dialect.text("Hello.")]).await;
        let mut setup = dialect.setup(&provider);
        setup.config.push_str("[gateway.models]\nshort = \"scripted/vendor/never-heard-of-1\"\n");
        let gateway = setup.start();
        for named in ["never-heard-of-2", "short"] {
            let body = json!({ "prompt": "hello", "model": named, "session_id": named });
            let events = gateway.exec(body).await;
            let last = &events.last().unwrap()["msg"];
            assert_eq!(last["last_agent_message"], "Hello.", "{wire}: {last}");
            let warned = events.iter().any(|event| event["msg"]["type"] == "warning");
            assert!(!warned, "{wire}: core warns about an unknown model: {events:?}");
        }
        // A turn may name a model of its own.
        let body = json!({ "prompt": "and?", "model": "never-heard-of-3", "session_id": "short" });
        gateway.post("/api/v1/exec", body).await.json();
        let requests = provider.requests();
        assert_eq!(requests.len(), 3, "{wire}");
        for one in &requests {
            let named = format!("{} {}", one.path, one.body["model"]);
            assert!(named.contains("never-heard-of"), "{wire}: {named}");
            assert!(
                dialect.offered(&one.body).contains(&"apply_patch".to_owned()),
                "{wire}: {named}"
            );
            let sequential = one.body["parallel_tool_calls"] == false
                || one.body["tool_choice"]["disable_parallel_tool_use"] == true;
            assert!(!sequential, "{wire}: {named}");
        }
    }
}

/// Adds the model to the catalogue over the Responses API: core offers unknown models no freeform
/// tools there.
fn with_patch_tool(dialect: &Dialect, setup: Setup) -> (Option<NamedTempFile>, Setup) {
    if dialect.wire_api != "responses" {
        return (None, setup);
    }
    let (catalogue, setup) = with_catalogue(dialect.model, setup);
    (Some(catalogue), setup)
}

/// Models also call `apply_patch` in the shell when it is not offered as a tool, as core's
/// instructions mention it.
#[tokio::test]
async fn shell_patch_is_applied() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let command = format!("apply_patch <<'EOF'\n{PATCH}EOF\n");
        let provider = Provider::start([dialect.call(&command), dialect.text("Patched.")]).await;
        let gateway = dialect.gateway(&provider);
        assert_patches(&wire, &gateway).await;
    }
}
