//! The sandbox leaves nothing behind, however its commands end: no mount points in codex's home, in
//! `/tmp`, or in a folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::agent;
use super::shell;
use crate::support::Gateway;
use crate::support::eventually;

/// Protected names at the top of a folder.
const PROTECTED: [&str; 3] = [".git", ".agents", ".codex"];

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Names in codex's home that the gateway does not write itself: its databases come and go.
fn foreign(home: &Path) -> Vec<String> {
    let own =
        |name: &str| name.contains(".sqlite") || name == "sessions" || name == "shell_snapshots";
    names(home).into_iter().filter(|name| !own(name)).collect()
}

/// The top-level folders of the workspaces in which one of the protected names is.
fn with_placeholders(gateway: &Gateway) -> Vec<String> {
    let folders = names(&gateway.workspaces()).into_iter();
    let holds = |folder: &String| {
        PROTECTED.iter().any(|name| gateway.workspaces().join(folder).join(name).exists())
    };
    folders.filter(holds).collect()
}

async fn stopped(gateway: &Gateway, cwd: &str, seconds: f64) {
    let call = json!({ "command": "sleep 30", "shell": true, "cwd": cwd });
    let limit = Duration::from_secs_f64(seconds);
    let _ = tokio::time::timeout(limit, gateway.rpc("exec", call)).await;
}

/// Runs a command that ends well, that its client leaves, or that its time limit ends.
async fn one_of_many(gateway: &Gateway, n: u32) {
    let cwd = format!("exec-{}", n % 5);
    match n % 4 {
        0 => stopped(gateway, &cwd, f64::from(n) / 100.0).await,
        1 => {
            let call =
                json!({ "command": "sleep", "args": ["30"], "cwd": cwd, "timeout_ms": 1 + n });
            let result = gateway.rpc("exec", call).await;
            assert_eq!(result["result"]["timed_out"], true, "{result}");
        }
        _ => {
            let result = shell(gateway, Some(&cwd), "echo x").await;
            assert_eq!((&result["stdout"], &result["stderr"]), (&json!("x\n"), &json!("")));
        }
    }
}

#[tokio::test]
async fn nothing_is_left_of_any_command() {
    // A writable folder around codex's home.
    let gateway = Gateway::env("TMPDIR", env!("CARGO_TARGET_TMPDIR")).start();
    agent(&gateway, "agent", "echo x > x").await;
    let home = gateway.home.path().to_owned();
    let before = foreign(&home);
    let provider = |health: Value| health["model_provider"].clone();
    let chosen = provider(gateway.get("/health").await.json());

    // Many at once in the same and in other folders; clients that leave; commands that time out.
    for round in 0..4 {
        futures::future::join_all((0..30).map(|n| one_of_many(&gateway, 30 * round + n))).await;
    }
    let own = shell(&gateway, None, "true").await["cwd"].as_str().unwrap().to_owned();
    eventually("no exec left a placeholder", || async {
        with_placeholders(&gateway).iter().all(|folder| !folder.starts_with("exec-"))
    })
    .await;
    eventually("the folder of one command is gone", || async { !Path::new(&own).exists() }).await;
    assert_eq!(foreign(&home), before);

    // A killed gateway leaves the rest to the next one.
    let killed = async {
        tokio::join!(stopped(&gateway, "exec-killed", 2.0), async {
            let body = json!({ "prompt": "run: sleep 30", "cwd": "agent-killed" });
            let _ = tokio::time::timeout(Duration::from_secs(2), gateway.post("/exec", body)).await;
        });
    };
    killed.await;
    let gateway = gateway.kill_and_restart();
    assert_eq!(foreign(&home), before);
    assert_eq!(provider(gateway.get("/health").await.json()), chosen);
    eventually("nothing is left", || async { with_placeholders(&gateway).is_empty() }).await;
    for name in PROTECTED {
        assert!(!Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).exists(), "{name}");
    }

    // Conversations can be deleted.
    let body = json!({ "prompt": "run: echo x", "session_id": "s" });
    let id = gateway.post("/api/v1/exec", body).await.json()["conversation_id"].clone();
    let path = format!("/api/v1/conversations/{}", id.as_str().unwrap());
    let deleted = gateway.send("DELETE", &path, &[], b"").await;
    assert!(deleted.status < 300, "{} {}", deleted.status, deleted.text());
}

/// What users have there stays, and what commands want to put there does not come.
#[tokio::test]
async fn protected_names_of_users_stay() {
    let gateway = Gateway::start();
    let folder = gateway.workspaces().join("there");
    std::fs::create_dir_all(folder.join(".agents")).unwrap();
    std::fs::create_dir_all(folder.join(".git")).unwrap();
    std::fs::write(folder.join(".git/config"), "mine").unwrap();
    let line = "for i in 1 2 3 4 5 6 7 8 9; do mkdir .git .agents .codex; echo x > .codex/x; \
                echo x > .git/config; echo x > .agents/x; mv .codex y; rmdir .agents .codex; done; \
                echo end";
    let many = (0..8).map(|_| shell(&gateway, Some("there"), line));
    for result in futures::future::join_all(many).await {
        assert_eq!(result["stdout"], "end\n", "{result}");
    }
    eventually("the placeholder is gone", || async { !folder.join(".codex").exists() }).await;
    assert_eq!(std::fs::read_to_string(folder.join(".git/config")).unwrap(), "mine");
    assert!(folder.join(".agents").is_dir() && names(&folder.join(".agents")).is_empty());
    assert!(!folder.join("y").exists());

    // A link cannot be protected.
    std::fs::remove_dir(folder.join(".agents")).unwrap();
    std::os::unix::fs::symlink("/", folder.join(".agents")).unwrap();
    let refused = shell(&gateway, Some("there"), "echo x").await;
    assert!(refused["stderr"].as_str().unwrap().contains(".agents: expected"), "{refused}");
    assert_eq!(refused["stdout"], "");
}

#[tokio::test]
async fn files_of_earlier_versions_are_removed() {
    use std::os::unix::fs::PermissionsExt;

    let gateway = Gateway::start();
    let home = gateway.home.path().to_owned();
    let body = json!({ "prompt": "run: echo x", "session_id": "s" });
    let id = gateway.post("/api/v1/exec", body).await.json()["conversation_id"].clone();
    let left =
        ["auth.json", ".env", ".credentials.json", "archived_sessions", "history.jsonl", "log"];
    for name in left {
        std::fs::write(home.join(name), "").unwrap();
        let read_only = std::fs::Permissions::from_mode(0o444);
        std::fs::set_permissions(home.join(name), read_only).unwrap();
    }
    let gateway = gateway.kill_and_restart();
    assert_eq!(gateway.get("/health").await.json()["model_provider"], "demo");
    for name in left {
        assert!(!home.join(name).is_file(), "{name}");
    }
    let path = format!("/api/v1/conversations/{}", id.as_str().unwrap());
    let deleted = gateway.send("DELETE", &path, &[], b"").await;
    assert!(deleted.status < 300, "{} {}", deleted.status, deleted.text());

    // A login is a file with a login in it.
    std::fs::write(home.join("auth.json"), "{}").unwrap();
    let gateway = gateway.kill_and_restart();
    assert_eq!(gateway.get("/health").await.json()["model_provider"], "demo");
}
