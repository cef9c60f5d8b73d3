//! Approvals: what one gives the agent ends at its folder, whoever approves.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use super::KEY;
use crate::support::Gateway;
use crate::support::approvals::decide;
use crate::support::approvals::waiting_turn;
use crate::support::catalogue::with_catalogue;
use crate::support::client::kinds;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Part;
use crate::support::eventually;
use crate::support::gateway::new_home;
use crate::support::merged;
use crate::support::provider::Provider;

const FILE: &str = "old\n";

/// The patches of an agent that wants out: the way, and the patch.
fn attacks(outside: &Path) -> Vec<(&'static str, String)> {
    let outside = outside.display();
    let add = |path: String| format!("*** Add File: {path}\n+evil\n");
    let update = "@@\n-old\n+evil\n";
    vec![
        ("an absolute path", add(format!("{outside}/added"))),
        ("a path with ..", add("../added".to_owned())),
        ("a path with .. below a folder", add("sub/../../added".to_owned())),
        ("a deletion", format!("*** Delete File: {outside}/victim\n")),
        ("an update", format!("*** Update File: {outside}/victim\n{update}")),
        ("a link to a folder", format!("*** Update File: out/victim\n{update}")),
        ("a link to a file", format!("*** Update File: link\n{update}")),
        ("a move", format!("*** Update File: mine\n*** Move to: {outside}/moved\n{update}")),
        ("one of two files", add("made".to_owned()) + &add(format!("{outside}/added"))),
        ("git's configuration", format!("*** Update File: .git/config\n{update}")),
        ("a skill", add(".agents/skills/evil/SKILL.md".to_owned())),
    ]
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[tokio::test]
async fn approved_patch_stays_inside_its_folder() {
    let dialect = &DIALECTS[0];
    let provider = Provider::start([]).await;
    let (_catalogue, setup) = with_catalogue(dialect.model, dialect.setup(&provider));
    let gateway = setup.start();
    let (outside, folder) = (new_home(), gateway.workspaces().join("w"));
    let outside = outside.path();
    std::fs::create_dir_all(folder.join(".git")).unwrap();
    std::fs::create_dir(folder.join("sub")).unwrap();
    let files = [folder.join("mine"), folder.join(".git/config"), outside.join("victim")];
    files.iter().for_each(|file| std::fs::write(file, FILE).unwrap());
    std::os::unix::fs::symlink(outside, folder.join("out")).unwrap();
    std::os::unix::fs::symlink(outside.join("victim"), folder.join("link")).unwrap();

    for (way, body) in attacks(outside) {
        provider.respond_with(dialect.patch(&format!("*** Begin Patch\n{body}*** End Patch\n")));
        let prompt = json!({ "prompt": "patch it", "cwd": "w", "approval_policy": "untrusted" });
        let (mut stream, path, approval) = waiting_turn(&gateway, prompt).await;
        assert_eq!(approval["request"]["type"], "apply_patch_approval_request", "{way}");
        let refused = decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
        assert_eq!(refused["status"], 403, "{way}: {refused}");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("gateway.allow_approvals_outside_workspace"), "{way}: {detail}");
        let params = json!({ "conversation_id": path.rsplit('/').next(),
                             "approval_id": approval["approval_id"],
                             "decision": "approved_for_session" });
        let refused = gateway.rpc("conversation.approve", params).await;
        assert_eq!(refused["error"]["code"], -32003, "{way}: {refused}");
        assert_eq!(gateway.get(&path).await.json()["status"], "waiting_approval", "{way}");

        provider.respond_with(dialect.text("Denied."));
        let denied = decide(&gateway, &path, &approval, json!({ "decision": "denied" })).await;
        assert_eq!(denied["decided"], true, "{way}: {denied}");
        assert_eq!(stream.events().await.last().unwrap()["msg"]["type"], "task_complete");
        for file in &files {
            assert_eq!(read(file).as_deref(), Some(FILE), "{way}: {}", file.display());
        }
        for file in ["added", "moved"] {
            let made = [outside.join(file), gateway.workspaces().join(file)];
            assert!(!made.iter().any(|file| file.exists()), "{way}");
        }
    }

    // Inside its folder, an approval gives a read-only agent the right to write.
    let patch = "*** Begin Patch\n*** Update File: mine\n@@\n-old\n+new\n*** End Patch\n";
    provider.respond_with(dialect.patch(patch));
    let prompt = json!({ "prompt": "patch it", "cwd": "w", "sandbox": "read-only",
                         "approval_policy": "on-request" });
    let (mut stream, path, approval) = waiting_turn(&gateway, prompt).await;
    provider.respond_with(dialect.text("Patched."));
    decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    stream.events().await;
    assert_eq!(read(&folder.join("mine")).as_deref(), Some("new\n"));
}

#[tokio::test]
async fn operator_can_let_approvals_reach_outside() {
    let dialect = &DIALECTS[0];
    let made = new_home();
    let made = made.path().join("made");
    let patch =
        format!("*** Begin Patch\n*** Add File: {}\n+outside\n*** End Patch\n", made.display());
    let provider = Provider::start([dialect.patch(&patch), dialect.text("Patched.")]).await;
    let (_catalogue, setup) = with_catalogue(dialect.model, dialect.setup(&provider));
    let gateway = setup.config("[gateway]\nallow_approvals_outside_workspace = true\n").start();
    let prompt = json!({ "prompt": "patch it", "approval_policy": "on-request" });
    let (mut stream, path, approval) = waiting_turn(&gateway, prompt).await;
    assert!(!made.exists());
    decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    stream.events().await;
    assert_eq!(read(&made).as_deref(), Some("outside\n"));
}

#[tokio::test]
async fn approved_escalation_still_runs_in_sandbox() {
    let dialect = &DIALECTS[0];
    let outside = new_home();
    let command = format!("echo x > inside; echo x > {}/outside", outside.path().display());
    let call = |command: &str| -> Value {
        json!({ "command": command, "sandbox_permissions": "require_escalated",
                "justification": "to leave the sandbox" })
    };
    let call = Part::Call { id: "call_1", name: "shell_command", arguments: call(&command) };
    let provider = Provider::start([dialect.say(&[call]), dialect.text("Tried.")]).await;
    let gateway = dialect.gateway(&provider);
    let prompt = json!({ "prompt": "run it", "cwd": "w", "approval_policy": "on-request" });
    let (mut stream, path, approval) = waiting_turn(&gateway, prompt).await;
    assert_eq!(approval["request"]["type"], "exec_approval_request", "{approval}");
    let decided = decide(&gateway, &path, &approval, json!({ "decision": "approved" })).await;
    assert_eq!(decided["decided"], true, "{decided}");
    stream.events().await;
    assert!(gateway.workspaces().join("w/inside").exists());
    assert!(!outside.path().join("outside").exists());
    let output = &dialect.answered_calls(&provider.requests()[1].body)[0].result;
    assert!(output.contains("Read-only file system"), "{output}");
}

#[tokio::test]
async fn keys_need_permission_to_approve() {
    let gateway = Gateway::config("[gateway]\napi_keys = [\"k\"]\n").start();
    for policy in ["on-request", "untrusted"] {
        let body = json!({ "prompt": "x", "approval_policy": policy });
        for path in ["/exec", "/api/v1/conversations"] {
            let refused = gateway.post_with(path, &[KEY], body.clone()).await;
            assert_eq!(refused.status, 403, "{path} {policy}");
            let refused = refused.json();
            let detail = refused["detail"].as_str().unwrap();
            assert!(detail.contains("gateway.allow_approvals"), "{path} {policy}: {detail}");
        }
    }
}

/// A recorded conversation does not keep what the operator has switched off since.
#[tokio::test]
async fn stricter_policy_reaches_recorded_conversations() {
    let outside = new_home();
    let outside = outside.path();
    let free = "[gateway]\nallow_danger_full_access = true\n";
    let gateway = Gateway::config(free).start();
    for (session, settings) in [
        ("free", json!({ "sandbox": "danger-full-access" })),
        ("asks", json!({ "approval_policy": "untrusted" })),
    ] {
        let body = merged(json!({ "prompt": "say: hi", "session_id": session }), settings);
        let begun = gateway.post("/api/v1/exec", body).await.json();
        assert_eq!(begun["status"], "completed", "{begun}");
    }
    let touch = |name: &str| format!("run: touch {}/{name}", outside.display());
    gateway.ask("free", &touch("before")).await;
    assert!(outside.join("before").exists());

    let gateway = gateway.kill_and_restart_with(
        "[gateway]\nallow_danger_full_access = false\nallow_approvals = false\n",
    );
    let listed = gateway.get("/api/v1/conversations").await.json();
    let listed = listed["conversations"].as_array().unwrap();
    for (session, setting, recorded, now) in [
        ("free", "sandbox", "danger-full-access", "workspace-write"),
        ("asks", "approval_policy", "untrusted", "never"),
    ] {
        let expected = json!([{ "setting": setting, "recorded": recorded, "now": now,
                                "needs": format!("gateway.allow_{}", match setting {
                                    "sandbox" => "danger_full_access",
                                    _ => "approvals",
                                }) }]);
        let shown = listed.iter().find(|one| one["session_id"] == session).unwrap();
        assert_eq!((&shown[setting], &shown["reduced_settings"]), (&json!(now), &expected));
        // A fork is reduced like its source.
        let params = json!({ "session_id": session });
        let fork = gateway.rpc("conversation.fork", params.clone()).await["result"].clone();
        assert_eq!((&fork[setting], &fork["reduced_settings"]), (&json!(now), &expected));
        let prompt = |session: &Value| json!({ "prompt": touch(session.as_str().unwrap()), "session_id": session });
        let events = gateway.exec(prompt(&json!(session))).await;
        assert_eq!(events[0]["msg"]["type"], "gateway_settings_reduced", "{}", events[0]);
        assert_eq!(events[0]["msg"]["settings"], expected);
        let kinds = kinds(&events);
        assert!(!kinds.contains(&"exec_approval_request"), "{kinds:?}");
        let task = gateway.post("/api/v1/exec", prompt(&fork["session_id"])).await.json();
        let told = task["task_result"]["next_steps"].to_string();
        assert!(told.contains(recorded) && told.contains("gateway.allow_"), "{told}");
        touch_in_terminal(&gateway, session, &outside.join("by-terminal")).await;
    }
    let made: Vec<_> = std::fs::read_dir(outside).unwrap().flatten().collect();
    assert_eq!(made.len(), 1, "{made:?}");
}

/// Touches a file in a terminal of a session, and waits until the terminal has ended.
async fn touch_in_terminal(gateway: &Gateway, session: &str, file: &Path) {
    let start = json!({ "session_id": session, "detached": true });
    let id = gateway.rpc("interactive.start", start).await["result"]["terminal_id"].clone();
    let line = STANDARD.encode(format!("touch {}; exit\n", file.display()));
    gateway.rpc("interactive.input", json!({ "terminal_id": id, "data": line })).await;
    eventually("the terminal exits", || async {
        let read = json!({ "terminal_id": id, "after": 0, "timeout_ms": 1000 });
        !gateway.rpc("interactive.read", read).await["result"]["exit_code"].is_null()
    })
    .await;
}
