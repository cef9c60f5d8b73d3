//! Records on a full disk, and two gateways on one home.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::support::Gateway;
use crate::support::eventually;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;
use crate::support::model::Model;

/// A small file system as a codex home.
struct SmallDisk(Arc<TempDir>);

impl SmallDisk {
    /// `None` where this user may not mount one.
    fn mount() -> Option<Self> {
        let home = new_home();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "none"])
            .arg(home.path())
            .status();
        if mount.is_ok_and(|status| status.success()) {
            return Some(Self(Arc::new(home)));
        }
        eprintln!("SKIPPED: a full disk needs the right to mount a file system; run as root");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the gateway may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn readiness(gateway: &Gateway) -> u16 {
    gateway.get("/health/ready").await.status
}

#[tokio::test]
async fn full_disk_loses_no_session() {
    let Some(disk) = SmallDisk::mount() else { return };
    let model = Model::start(200).await;
    let setup = Setup::default().config(&model.config()).env("SCRIPTED_KEY", "k");
    let gateway = setup.start_in(&disk.0);
    let before = gateway.ask("before", "remember the word pomegranate").await;
    let kept = gateway.ask("kept", "remember the word quince").await;
    disk.fill();

    let refused = gateway.post("/api/v1/exec", json!({ "prompt": "x", "session_id": "new" })).await;
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(refused.json()["code"], "insufficient_storage");
    assert!(!refused.header("retry-after").is_empty());
    let refused = gateway.rpc("conversation.start", json!({ "session_id": "new" })).await;
    assert_eq!(refused["error"]["data"]["code"], "insufficient_storage", "{refused}");
    assert_eq!(readiness(&gateway).await, 503);
    let metrics = gateway.get("/metrics").await.text();
    let unwritable =
        metrics.lines().find(|line| line.starts_with("codex_gateway_records_unwritable"));
    assert!(unwritable.is_some_and(|line| line.ends_with(" 1")), "{unwritable:?}");
    // What is there can be read.
    let id = before["conversation_id"].as_str().unwrap();
    assert_eq!(gateway.get(&format!("/api/v1/conversations/{id}/history")).await.status, 200);
    // A turn that could not be recorded does not begin.
    let refused =
        gateway.post("/api/v1/exec", json!({ "prompt": "x", "session_id": "before" })).await;
    assert_eq!(refused.status, 507, "{}", refused.text());

    disk.free();
    eventually("ready again", || async { readiness(&gateway).await == 200 }).await;
    let during = gateway.ask("new", "remember the word medlar").await;
    assert_eq!(during["status"], "completed", "{during}");
    let after = gateway.ask("before", "which words?").await;
    assert_eq!(after["conversation_id"], before["conversation_id"]);
    let gateway = gateway.kill_and_restart();
    for (session, earlier, word) in
        [("before", &before, "pomegranate"), ("kept", &kept, "quince"), ("new", &during, "medlar")]
    {
        let again = gateway.ask(session, "which word?").await;
        assert_eq!(again["conversation_id"], earlier["conversation_id"], "{session}: {again}");
        assert!(model.last_request().contains(word), "{session}");
    }
    drop(gateway);
}

#[tokio::test]
async fn second_gateway_on_a_home_is_refused() {
    let gateway = Gateway::start();
    for arguments in [&["serve"][..], &["exec", "say: hi"]] {
        let output = Setup::default().command(&gateway.home).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            said.contains("CODEX_HOME: expected a folder that no other gateway uses"),
            "{said}"
        );
        assert!(said.contains(&format!("(process {})", gateway.child.id())), "{said}");
    }
    // SIGKILL leaves no lock behind, although the agent's command survives it.
    let mut running =
        gateway.stream("/exec", &[], json!({ "prompt": "run: sleep 30", "session_id": "s" })).await;
    running.until("exec_command_begin").await;
    let gateway = gateway.kill_and_restart();
    assert_eq!(gateway.ask("s", "say: back").await["status"], "completed");
}

#[tokio::test]
async fn records_that_cannot_be_opened_are_retried() {
    let home = Arc::new(new_home());
    let file = home.path().join("gateway/sessions.jsonl");
    // A folder in its place cannot be opened for writing, by root either.
    std::fs::create_dir_all(home.path().join("gateway")).unwrap();
    std::os::unix::fs::symlink("nowhere/file", &file).unwrap();
    let gateway = Setup::default().start_in(&home);
    let refused = gateway.post("/api/v1/exec", json!({ "prompt": "say: x" })).await;
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(readiness(&gateway).await, 503);
    std::fs::remove_file(&file).unwrap();
    eventually("ready", || async { readiness(&gateway).await == 200 }).await;
    assert_eq!(gateway.ask("s", "say: x").await["status"], "completed");
    assert!(std::fs::read_to_string(&file).unwrap().contains(r#""session_id":"s""#));
}
