//! Commands see no other workspace, nothing of codex's home, and no other folder's temporary files,
//! whoever starts them: the agent, `exec`, a terminal.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::agent;
use super::shell;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;

/// Runs a line in a new terminal. Returns what it printed.
async fn terminal(gateway: &Gateway, cwd: &str, line: &str) -> String {
    let mut socket = Socket::connect(gateway, &[]).await;
    let started = socket.call("interactive.start", json!({ "cwd": cwd, "shell": "sh" })).await;
    let id = &started["result"]["terminal_id"];
    assert!(id.is_string(), "{started}");
    // The terminal echoes its input: words in it are not to be found in what it printed.
    let data = STANDARD.encode(format!("stty -echo; {line}; exit\n"));
    gateway.rpc("interactive.input", json!({ "terminal_id": id, "data": data })).await;
    let mut printed = Vec::new();
    loop {
        let notification = socket.notification().await;
        if notification["method"] == "interactive.exited" {
            break;
        }
        let piece = notification["params"]["data"].as_str().unwrap();
        printed.extend(STANDARD.decode(piece).unwrap());
    }
    let printed = String::from_utf8_lossy(&printed).into_owned();
    printed.replacen(&line.replace('\n', "\r\n"), "", 1)
}

/// Has a script run by the agent, `exec` and a terminal. Returns what each printed.
async fn everywhere(gateway: &Gateway, cwd: &str, script: &str) -> [String; 3] {
    let folder = gateway.workspaces().join(cwd);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("script"), script).unwrap();
    let result = shell(gateway, Some(cwd), "sh ./script 2>&1").await;
    [
        agent(gateway, cwd, "sh ./script 2>&1").await,
        result["stdout"].as_str().unwrap().to_owned(),
        terminal(gateway, cwd, "sh ./script").await,
    ]
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn other_workspaces_and_home_are_hidden() {
    let gateway = Gateway::config("# canary\n").start();
    let home = gateway.home.path().canonicalize().unwrap();
    write(&home.join("auth.json"), "{\"canary\":1}");
    write(&home.join("later.txt"), "canary");
    shell(&gateway, Some("theirs/deep"), "echo canary > secret; ln -s / root").await;
    agent(&gateway, "theirs/agent", "echo canary > secret").await;
    let script = format!(
        "echo own; cd {home}\n\
         cat config.toml auth.json later.txt workspaces/theirs/*/secret ../*/workspaces/*/*/secret\n\
         ls -a . gateway sessions workspaces workspaces/theirs\n\
         cat /proc/*/root{home}/config.toml /proc/*/cwd/../theirs/deep/secret\n\
         find / -xdev -name secret -path '*theirs*' 2>/dev/null | xargs cat\n\
         grep -r canar[y] gateway sessions *.sqlite* .\n\
         echo end",
        home = home.display()
    );
    for (way, printed) in everywhere(&gateway, "mine", &script).await.iter().enumerate() {
        assert!(printed.contains("own") && printed.contains("end"), "{way}: {printed}");
        for hidden in ["canary", "theirs\n", "deep\n", "folders.jsonl", "config.toml\n"] {
            let lines = printed.lines().filter(|line| !line.contains("No such file"));
            let found = lines.map(|line| format!("{line}\n")).any(|line| line.contains(hidden));
            assert!(!found, "{way}: {hidden} in {printed}");
        }
    }
}

/// The gateway may run as root, and a command as root of its own namespaces.
#[tokio::test]
async fn no_mount_can_be_taken_away() {
    let gateway = Gateway::start();
    let home = gateway.home.path().canonicalize().unwrap();
    write(&home.join("workspaces/theirs/secret"), "canary");
    let script = format!(
        "w={home}/workspaces; s=$w/theirs/secret\n\
         grep CapEff /proc/self/status\n\
         for m in $w/mine/.git /tmp $w $PWD {home} /proc /; do umount -l $m && echo removed $m; done\n\
         mount -o remount,rw,bind {home} && echo remounted\n\
         mount -t tmpfs none /mnt && echo mounted\n\
         for u in '-Urm' '-Um' '-m'; do unshare $u sh -c \"umount -l $w; umount -l {home}; cat $s\"; done\n\
         nsenter -t 1 -m cat $s; nsenter --mount=/proc/1/ns/mnt cat $s; chroot /proc/1/root cat $s\n\
         cat /proc/1/root$s /proc/1/cwd/$s /proc/self/fd/*/$s\n\
         ls -l /proc/self/fd /proc/1/fd | grep -v /dev/ | grep -c work\n\
         echo end",
        home = home.display()
    );
    for (way, printed) in everywhere(&gateway, "mine", &script).await.iter().enumerate() {
        assert!(printed.contains("CapEff:\t0000000000000000"), "{way}: {printed}");
        assert!(printed.contains("end"), "{way}: {printed}");
        for gained in ["canary", "removed /", "remounted", "mounted\n"] {
            assert!(!printed.contains(gained), "{way}: {gained}: {printed}");
        }
    }
}

#[tokio::test]
async fn temporary_files_are_the_folders_own() {
    let gateway = Gateway::env("TMPDIR", env!("CARGO_TARGET_TMPDIR")).start();
    let name = format!("gateway-test-{}", uuid::Uuid::new_v4());
    let tmpdir = env!("CARGO_TARGET_TMPDIR");
    let script = format!(
        "for d in /tmp /var/tmp {tmpdir}; do echo canary > $d/{name}; done\n\
         f=$(mktemp) && echo made $f; rm -f /tmp/fifo; mkfifo /tmp/fifo && echo piped\n\
         python3 -c 'import tempfile; print(tempfile.TemporaryFile())' && echo end"
    );
    let printed = &everywhere(&gateway, "a", &script).await[0];
    for expected in ["made /", "piped", "end"] {
        assert!(printed.contains(expected), "{printed}");
    }
    let read = format!("cat /tmp/{name} /var/tmp/{name} {tmpdir}/{name}; ls -A /tmp; echo end");
    // A later command of the same conversation's folder has them, another's has not.
    let same = agent(&gateway, "a", &read).await;
    assert_eq!(same.matches("canary").count(), 3, "{same}");
    for other in everywhere(&gateway, "b", &read).await {
        assert!(other.contains("end"), "{other}");
        assert!(!other.contains("canary") && !other.contains("fifo"), "{other}");
    }
    for folder in ["/tmp", "/var/tmp", tmpdir] {
        assert!(!Path::new(folder).join(&name).exists());
    }
    // Nobody writes them without a right to write.
    let body = json!({ "prompt": "run: echo x > /tmp/x", "cwd": "c", "sandbox": "read-only" });
    let refused = gateway.post("/api/v1/exec", body).await.json();
    assert!(refused["task_result"]["summary"].to_string().contains("Read-only"), "{refused}");

    // They go with the last user of the folder; those of a process that was killed, at the next
    // start.
    let views = gateway.home.path().join("gateway/views");
    let holds = |word: &str| {
        let mut search = std::process::Command::new("grep");
        search.args(["-rlsD", "skip", word]).arg(&views);
        !search.output().unwrap().stdout.is_empty()
    };
    shell(&gateway, Some("d"), "mkdir -p /tmp/d; echo of-a-command > /tmp/d/f; chmod 0 /tmp/d")
        .await;
    eventually("they are gone", || async { !holds("of-a-command") }).await;
    assert!(holds("canary"));
    let gateway = gateway.kill_and_restart();
    assert!(!holds("canary"));
    assert_eq!(agent(&gateway, "a", &format!("cat /tmp/{name} 2>/dev/null")).await.trim(), "");
}

/// Core's file helper and a patch that leads to a temporary folder have the view too.
#[tokio::test]
async fn patch_to_temporary_folder_stays_there() {
    let gateway = Gateway::start();
    let name = format!("/tmp/gateway-test-{}", uuid::Uuid::new_v4());
    let patch = format!("*** Begin Patch\n*** Add File: {name}\n+canary\n*** End Patch\n");
    agent(&gateway, "a", &format!("apply_patch <<'EOF'\n{patch}EOF\n")).await;
    assert!(!Path::new(&name).exists());
    assert!(agent(&gateway, "a", &format!("cat {name}")).await.contains("canary"));

    let theirs = gateway.workspaces().join("theirs");
    write(&theirs.join("there"), "theirs");
    for file in [theirs.join("there"), theirs.join("new"), gateway.home.path().join("new")] {
        let patch =
            format!("*** Begin Patch\n*** Add File: {}\n+mine\n*** End Patch\n", file.display());
        agent(&gateway, "a", &format!("apply_patch <<'EOF'\n{patch}EOF\n")).await;
        let content = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(!content.contains("mine"), "{}", file.display());
    }
}

/// Codex's home and the workspaces may lie in a temporary folder, which commands then see replaced.
#[tokio::test]
async fn home_in_temporary_folder_works() {
    let home = tempfile::Builder::new().prefix("gateway-home-").tempdir().unwrap();
    let gateway = crate::support::gateway::Setup::default().start_at(home);
    let folder = gateway.workspaces();
    write(&folder.join("theirs/secret"), "canary");
    let script = format!(
        "echo x > here && echo own; echo x > /tmp/t && echo temporary\n\
         cat {0}/theirs/secret; ls {0}; ls /tmp; mv /tmp/gateway-home-* /tmp/moved; ls /tmp; echo end",
        folder.display()
    );
    for round in ["first", "second"] {
        for printed in everywhere(&gateway, "mine", &script).await {
            for expected in ["own", "temporary", "mine", "end"] {
                assert!(printed.contains(expected), "{round}: {printed}");
            }
            assert!(!printed.contains("canary") && !printed.contains("moved\n"), "{printed}");
        }
    }
    let read = json!({ "prompt": "run: cat here", "cwd": "mine", "sandbox": "read-only" });
    let answer = gateway.post("/api/v1/exec", read).await.json();
    assert!(answer["stdout"].as_str().unwrap().contains('x'), "{answer}");
}
