//! Commands see no other workspace and no other command's temporary files.

use serde_json::json;

use super::agent;
use super::shell;
use crate::support::Gateway;
use crate::support::eventually;

#[tokio::test]
async fn other_workspaces_are_hidden() {
    let gateway = Gateway::start();
    shell(&gateway, Some("theirs/deep"), "echo canary > secret; mkfifo pipe; ln -s / root").await;
    let root = gateway.workspaces().canonicalize().unwrap();
    let root = root.display();
    let line = format!(
        "echo own > mine; cat mine; cat {root}/theirs/deep/secret ../theirs/deep/secret \
         ../../theirs/deep/secret; ls {root} {root}/theirs {root}/x; echo end"
    );
    for sandbox in ["workspace-write", "read-only"] {
        let cwd = format!("x/{sandbox}");
        std::fs::create_dir_all(gateway.workspaces().join(&cwd)).unwrap();
        std::fs::write(gateway.workspaces().join(&cwd).join("mine"), "own").unwrap();
        let body = json!({ "prompt": format!("run: {line}"), "cwd": cwd, "sandbox": sandbox });
        let answer = gateway.post("/api/v1/exec", body).await.json();
        let printed = answer["stdout"].as_str().unwrap().to_owned();
        let params = json!({ "command": line, "shell": true, "cwd": cwd, "sandbox": sandbox });
        let result = gateway.rpc("exec", params).await;
        for printed in [printed, result["result"]["stdout"].as_str().unwrap().to_owned()] {
            assert!(printed.contains("own") && printed.contains("end"), "{sandbox}: {printed}");
            assert!(!printed.contains("canary") && !printed.contains("deep\n"), "{printed}");
        }
    }
}

#[tokio::test]
async fn temporary_files_are_the_folders_own() {
    let gateway = Gateway::start();
    let marker = format!("/tmp/gateway-test-{}", uuid::Uuid::new_v4());
    let line = format!(
        "echo canary > $TMPDIR/kept; echo canary > {marker}; f=$(mktemp) && echo made $f; \
         echo folder $TMPDIR"
    );
    let printed = agent(&gateway, "a", &line).await;
    assert!(printed.contains("made "), "{printed}");
    assert!(!std::path::Path::new(&marker).exists());
    let folder = printed.split("folder ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(folder.contains("command-tmp"), "{folder}");
    let all = std::path::Path::new(folder).ancestors().nth(2).unwrap().display();
    // A later command of the same conversation's folder has them, another's has not.
    let same = shell(&gateway, Some("a"), "cat $TMPDIR/kept").await;
    assert_eq!(same["stdout"], "canary\n");
    let line = format!("cat {folder}/kept; ls {all} {folder}; echo x > {folder}/x; echo end");
    let other = shell(&gateway, Some("b"), &line).await;
    // The way to its own folder is listed, and nothing beside it.
    let other = other["stdout"].as_str().unwrap();
    let name = std::path::Path::new(folder).file_name().unwrap().to_str().unwrap();
    assert!(!other.contains("canary") && !other.contains(name), "{other}");
    assert!(other.ends_with("end\n"), "{other}");
    assert!(!std::path::Path::new(folder).join("x").exists());

    // A command's own are removed with it; those of a process that has ended, at the next start.
    let line = "mkdir -p $TMPDIR/d; echo x > $TMPDIR/d/f; printf %s $TMPDIR";
    let gone = shell(&gateway, Some("c"), line).await["stdout"].as_str().unwrap().to_owned();
    eventually("they are gone", || async { !std::path::Path::new(&gone).exists() }).await;
    let gateway = gateway.kill_and_restart();
    assert!(!std::path::Path::new(folder).exists());
    assert_eq!(shell(&gateway, Some("a"), "cat $TMPDIR/kept").await["stdout"], "");
}
