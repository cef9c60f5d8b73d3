//! Commands that take all they can get: processes, memory, disk, file descriptors. Each ends with a
//! clear event, others are served, and what it took comes back.

use serde_json::Value;
use serde_json::json;

use super::shell;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::client::kinds;
use crate::support::eventually;
use crate::support::gateway::Setup;
use crate::support::gateway::new_home;
use crate::support::process;
use crate::support::soon;

/// Processes that fork until there are 512, most of them orphans. Bounded, unlike the real thing: if
/// the gateway fails, the machine must not.
fn bomb(name: &str) -> String {
    format!(
        "echo 'f() {{ if [ $1 = 0 ]; then sleep 60; else (f $(($1 - 1)) &) ; f $(($1 - 1)); fi; }}; f 9' \
         > bomb.sh; bash ./bomb.sh {name}"
    )
}

fn setup(limits: &str) -> Setup {
    Gateway::config(&format!(
        "[gateway]\nallow_danger_full_access = true\n[gateway.commands]\nmin_free_bytes = 1\n{limits}\n"
    ))
}

fn text(value: &Value) -> String {
    value.to_string()
}

/// Has the agent run a line, beside a turn that must complete. Returns the events of the first.
async fn run_beside_others(gateway: &Gateway, sandbox: &str, line: &str) -> Vec<Value> {
    let hostile = json!({ "prompt": format!("run: {line}"), "sandbox": sandbox });
    let other = json!({ "prompt": "run: sleep 1; echo alive" });
    let (events, other) = tokio::join!(
        soon("the hostile turn", gateway.exec(hostile)),
        soon("another turn", gateway.post("/api/v1/exec", other)),
    );
    let other = other.json();
    assert_eq!(other["status"], "completed", "{other}");
    assert!(text(&other["stdout"]).contains("alive"), "{other}");
    events
}

fn ended(events: &[Value]) -> &Value {
    let found = events.iter().find(|event| event["msg"]["type"] == "gateway_commands_ended");
    &found.unwrap_or_else(|| panic!("{:?}", kinds(events)))["msg"]
}

#[tokio::test]
async fn fork_bomb_is_ended_and_reported() {
    let gateway = setup("max_processes = 100").start();
    for sandbox in ["workspace-write", "danger-full-access"] {
        let name = format!("bomb{}", process::marker());
        let events = run_beside_others(&gateway, sandbox, &bomb(&name)).await;
        let ended = ended(&events);
        assert_eq!(ended["limit"], "processes", "{ended}");
        assert!(text(&ended["message"]).contains("max_processes"), "{ended}");
        assert_eq!(kinds(&events).last(), Some(&"task_complete"));
        eventually("the bomb is gone", || async { !process::command_line_holds(&name) }).await;
    }
}

#[tokio::test]
async fn fork_bomb_of_exec_says_why_it_ended() {
    let gateway = setup("max_processes = 100").start();
    let name = format!("bomb{}", process::marker());
    for sandbox in ["workspace-write", "danger-full-access"] {
        let params = json!({ "command": bomb(&name), "shell": true, "sandbox": sandbox });
        let result = soon("exec", gateway.rpc("exec", params)).await["result"].clone();
        assert!(text(&result["limit_exceeded"]).contains("max_processes"), "{result}");
        assert_ne!(result["exit_code"], 0);
        eventually("the bomb is gone", || async { !process::command_line_holds(&name) }).await;
    }
    let result = shell(&gateway, None, "echo fine").await;
    assert_eq!((&result["stdout"], &result["limit_exceeded"]), (&json!("fine\n"), &Value::Null));
}

#[tokio::test]
async fn memory_hog_is_ended_and_memory_returns() {
    let gateway = setup("max_memory_bytes = 200_000_000").start();
    let before = process::resident_memory(gateway.child.id());
    let line = "python3 -c 'import time; hog = [bytearray(50_000_000)]\nwhile True: hog.append(bytearray(20_000_000)); time.sleep(0.05)'";
    for sandbox in ["workspace-write", "danger-full-access"] {
        let events = run_beside_others(&gateway, sandbox, line).await;
        assert_eq!(ended(&events)["limit"], "memory");
        assert_eq!(kinds(&events).last(), Some(&"task_complete"));
    }
    let own = process::resident_memory(gateway.child.id());
    assert!(own < before + 100_000_000, "{before} became {own}");
}

#[tokio::test]
async fn file_and_descriptor_hogs_meet_limits() {
    let gateway = setup("max_file_bytes = 1_000_000\nmax_open_files = 200").start();
    let hog = "python3 -c 'files = []\nwhile True: files.append(open(\"/dev/null\"))'";
    for sandbox in ["workspace-write", "danger-full-access"] {
        let cwd = format!("w-{sandbox}");
        let line = "sleep 0.5; head -c 1T /dev/zero > big; ls -s --block-size=1 big; ulimit -n";
        let body = json!({ "prompt": format!("run: {line}"), "cwd": cwd, "sandbox": sandbox });
        let answer = soon("a turn", gateway.post("/api/v1/exec", body)).await.json();
        assert_eq!(answer["status"], "completed", "{answer}");
        let size = gateway.workspaces().join(&cwd).join("big").metadata().unwrap().len();
        assert!(size <= 1_000_000, "{size}");
        assert!(text(&answer["stdout"]).contains("200"), "{answer}");
        let line = format!("sleep 0.5; {hog}");
        let body = json!({ "prompt": format!("run: {line}"), "sandbox": sandbox });
        let answer = soon("a turn", gateway.post("/api/v1/exec", body)).await.json();
        assert!(text(&answer).contains("Too many open files"), "{answer}");
    }
}

#[tokio::test]
async fn commands_have_the_usual_number_of_files() {
    let gateway = setup("").start();
    let result = shell(&gateway, None, "ulimit -Sn; cat /proc/self/oom_score_adj; nice").await;
    assert_eq!(result["stdout"], "1024\n1000\n10\n");
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": "run: ulimit -Sn; nice" })).await;
    assert_eq!(answer.json()["stdout"], "1024\n10\n");
}

#[tokio::test]
async fn disk_filler_ends_its_turn_only() {
    const FLOOR: u64 = 200_000_000;
    let folder = new_home();
    let root = folder.path().join("w");
    std::fs::create_dir(&root).unwrap();
    let mut setup = Gateway::config(&format!(
        "[gateway]\nworkspace_root = {root:?}\n[gateway.commands]\nmin_free_bytes = {FLOOR}\n"
    ));
    // A volume of its own, which ends with the gateway.
    let mount =
        format!("mount -t tmpfs -o size=400m none {} && exec \"$0\" \"$@\"", root.display());
    setup.starter = ["unshare", "--mount", "sh", "-c", &mount].map(str::to_owned).to_vec();
    let gateway = setup.start();
    let free = || async { gateway.get("/health").await.json()["commands"]["free_bytes"].as_u64() };
    assert!(free().await > Some(FLOOR));
    // A file without a name: its space returns with the command.
    let line = "exec 3> f; rm f; i=0; while :; do head -c 1000000 /dev/zero >&3; sleep 0.01; done";
    let events = run_beside_others(&gateway, "workspace-write", line).await;
    let ended = ended(&events);
    assert_eq!(ended["limit"], "disk", "{ended}");
    assert!(text(&ended["message"]).contains("min_free_bytes"), "{ended}");
    assert_eq!(kinds(&events).last(), Some(&"turn_aborted"));
    eventually("the space is free again", || async { free().await > Some(FLOOR) }).await;
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": "run: echo again" })).await.json();
    assert_eq!((&answer["status"], &answer["stdout"]), (&json!("completed"), &json!("again\n")));
}

#[tokio::test]
async fn no_command_starts_on_a_full_disk() {
    let gateway = Gateway::config("[gateway.commands]\nmin_free_bytes = 1_000_000_000_000_000\n");
    let gateway = gateway.start();
    let health = gateway.get("/health").await.json();
    assert_eq!((&health["sandbox"], &health["tools"]), (&json!("bubblewrap"), &json!("on")));
    let body = json!({ "prompt": "run: echo x > started", "cwd": "w" });
    let answer = soon("the turn", gateway.post("/api/v1/exec", body)).await.json();
    assert_eq!(answer["status"], "failed", "{answer}");
    assert!(text(&answer).contains("min_free_bytes"), "{answer}");
    assert!(!gateway.workspaces().join("w/started").exists());
    let answer = gateway.rpc("exec", json!({ "command": "id" })).await;
    assert_eq!(answer["error"]["code"], -32001, "{answer}");
    assert!(text(&answer["error"]["message"]).contains("min_free_bytes"), "{answer}");
    let started = gateway.rpc("interactive.start", json!({})).await;
    assert_eq!(started["error"]["code"], -32001, "{started}");
    // A turn without a command needs no room.
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": "say: hi" })).await.json();
    assert_eq!(answer["status"], "completed");
}

#[tokio::test]
async fn terminal_over_its_limit_exits_for_it() {
    let gateway = setup("max_processes = 100").start();
    for sandbox in ["workspace-write", "danger-full-access"] {
        let mut socket = Socket::connect(&gateway, &[]).await;
        let started = socket.call("interactive.start", json!({ "sandbox": sandbox })).await;
        let id = started["result"]["terminal_id"].clone();
        let name = format!("bomb{}", process::marker());
        use base64::Engine;
        let input = format!("{}\n", bomb(&name));
        let data = base64::engine::general_purpose::STANDARD.encode(input);
        gateway.rpc("interactive.input", json!({ "terminal_id": id, "data": data })).await;
        let exited = soon("the exit", async {
            loop {
                let notification = socket.notification().await;
                if notification["method"] == "interactive.exited" {
                    return notification["params"].clone();
                }
            }
        })
        .await;
        assert_eq!(exited["reason"], "limit", "{exited}");
        eventually("the bomb is gone", || async { !process::command_line_holds(&name) }).await;
    }
}

#[tokio::test]
async fn limits_in_force_are_shown() {
    let gateway = setup("max_processes = 77\nmax_file_bytes = 5_000_000").start();
    let commands = gateway.get("/health").await.json()["commands"].clone();
    assert_eq!(
        (&commands["max_processes"], &commands["max_file_bytes"]),
        (&json!(77), &json!(5_000_000))
    );
    assert_eq!(commands["min_free_bytes"], 1);
    assert!(commands["free_bytes"].as_u64().unwrap() > 1);
    let by_cgroup = commands["no_cgroup"].is_null();
    let by = if by_cgroup { "cgroup" } else { "watch" };
    assert!([&json!(by), &json!("watch")].contains(&&commands["processes_by"]), "{commands}");
}
