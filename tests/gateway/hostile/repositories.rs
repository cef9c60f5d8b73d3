//! Repositories that name programs for git to run. Core would run git itself, outside the sandbox and
//! with the gateway's environment, in each turn.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::agent;
use super::shell;
use crate::support::Gateway;
use crate::support::gateway::Setup;

/// The lines that make the folder a repository whose filter writes `leak`, with a change that makes
/// git run it.
fn repository(leak: &Path) -> String {
    format!(
        "git init -q && git config user.email a@b && git config user.name a && echo x>f && \
         git add f && git commit -qm1 && git config filter.x.clean 'sh -c \"env>{};cat\"' && \
         echo '* filter=x'>.gitattributes && sleep 1 && echo y>f",
        leak.display()
    )
}

/// A repository that an operator has put into the workspace root; commands cannot write its `.git`.
fn checkout(gateway: &Gateway, name: &str, leak: &Path) {
    let folder = gateway.workspaces().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut git = std::process::Command::new("sh");
    let made = git.args(["-c", &repository(leak)]).current_dir(&folder).status().unwrap();
    assert!(made.success());
    let _ = std::fs::remove_file(leak);
}

#[tokio::test]
async fn filter_of_a_repository_never_runs() {
    assert_filter_never_runs(Gateway::env("MY_DSN", "canary")).await;
}

#[tokio::test]
async fn filter_never_runs_beside_process_1() {
    assert_filter_never_runs(Gateway::env("MY_DSN", "canary").process_1()).await;
}

async fn assert_filter_never_runs(setup: Setup) {
    let gateway = setup.start();
    let leak = gateway.home.path().join("leak");
    checkout(&gateway, "w", &leak);
    for _ in 0..2 {
        let body = json!({ "prompt": "hi", "cwd": "w", "session_id": "s" });
        assert_eq!(gateway.post("/api/v1/exec", body).await.status, 200);
    }
    assert!(!leak.exists());
}

#[tokio::test]
async fn submodule_that_the_agent_replaces_runs_nothing() {
    let gateway = Gateway::start();
    let leak = gateway.home.path().join("leak");
    checkout(&gateway, "w", &leak);
    let line = format!("mkdir sub && cd sub && {}; echo made", repository(&leak));
    assert!(agent(&gateway, "w", &line).await.contains("made"));
    let body = json!({ "prompt": "hi", "cwd": "w" });
    assert_eq!(gateway.post("/api/v1/exec", body).await.status, 200);
    assert!(!leak.exists());
}

#[tokio::test]
async fn clone_by_the_agent_runs_nothing() {
    assert_clone_runs_nothing(Setup::default()).await;
}

#[tokio::test]
async fn clone_beside_process_1_runs_nothing() {
    assert_clone_runs_nothing(Setup::default().process_1()).await;
}

async fn assert_clone_runs_nothing(setup: Setup) {
    let gateway = setup.start();
    let leak = gateway.home.path().join("leak");
    checkout(&gateway, "hostile", &leak);
    // The agent's own folder does not show the other, so the repository is copied into it.
    let from = gateway.workspaces().join("hostile");
    let into = gateway.workspaces().join("w/hostile");
    std::fs::create_dir_all(into.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([&from, &into]).status().unwrap();
    assert!(copied.success());
    let printed = agent(&gateway, "w", "git clone -q hostile clone; ls clone").await;
    assert!(printed.contains('f'), "{printed}");
    let body = json!({ "prompt": "hi", "cwd": "w" });
    assert_eq!(gateway.post("/api/v1/exec", body).await.status, 200);
    assert!(!leak.exists());
}

#[tokio::test]
async fn review_against_a_branch_never_waits_for_git() {
    let gateway = Gateway::start();
    let leak = gateway.home.path().join("leak");
    checkout(&gateway, "w", &leak);
    let git = gateway.workspaces().join("w/.git");
    let fifo = gateway.home.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let include = format!("\n[include]\n\tpath = {}\n", fifo.display());
    let config = std::fs::read_to_string(git.join("config")).unwrap() + &include;
    std::fs::write(git.join("config"), config).unwrap();
    let body = json!({ "prompt": "hi", "cwd": "w", "session_id": "s" });
    let answer = gateway.post("/api/v1/exec", body).await.json();
    let path =
        format!("/api/v1/conversations/{}/review", answer["conversation_id"].as_str().unwrap());
    let review =
        gateway.post(&path, json!({ "target": { "type": "base_branch", "branch": "main" } }));
    let review = tokio::time::timeout(Duration::from_secs(60), review).await.unwrap();
    assert!(review.status < 300, "{}", review.json());
    let other = gateway.post("/api/v1/exec", json!({ "prompt": "hi" }));
    let other = tokio::time::timeout(Duration::from_secs(60), other).await.unwrap();
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn repository_that_exec_made_starts_no_conversation() {
    let gateway = Gateway::start();
    let leak = gateway.home.path().join("leak");
    let line = format!("mkdir sub && cd sub && {}", repository(&leak));
    let unnamed = shell(&gateway, None, &line).await["cwd"].as_str().unwrap().to_owned();
    shell(&gateway, Some("w"), &line).await;
    let gateway = gateway.kill_and_restart();
    for outer in [unnamed.as_str(), "w"] {
        let body = json!({ "prompt": "hi", "cwd": format!("{outer}/sub") });
        let answer = gateway.post("/exec", body).await;
        assert_eq!(answer.status, 400);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("not inside one in which a command has run"), "{detail}");
        // The folder itself is open, as before.
        let body = json!({ "prompt": "hi", "cwd": outer });
        assert_eq!(gateway.post("/api/v1/exec", body).await.status, 200);
    }
    assert!(!leak.exists());
}
