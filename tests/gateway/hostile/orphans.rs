//! Processes that outlive those who started them: none outlives the gateway, however it ends, and
//! none stays as a zombie.

use serde_json::json;

use super::kill;
use super::shell;
use crate::support::Gateway;
use crate::support::Socket;
use crate::support::eventually;
use crate::support::process;
use crate::support::soon;

#[tokio::test]
async fn killed_gateway_leaves_no_process() {
    let markers: Vec<String> = (0..6).map(|_| process::marker()).collect();
    let [server, agent, free_agent, exec, terminal, free_exec] = &markers[..] else { panic!() };
    let mut gateway = Gateway::config(&format!(
        "[gateway]\nallow_danger_full_access = true\nconversations_ahead = 0\n\
         [mcp_servers.hanging]\ncommand = \"sleep\"\nargs = [\"{server}\"]\nstartup_timeout_sec = 1\n"
    ))
    .start();
    let detached = |marker: &str| format!("setsid sleep {marker} & sleep {marker}");
    let mut socket = Socket::connect(&gateway, &[]).await;
    let free = "danger-full-access";
    let started = socket.call("interactive.start", json!({ "sandbox": free })).await;
    let id = started["result"]["terminal_id"].clone();
    use base64::Engine;
    let input = format!("{}\n", detached(terminal));
    let data = base64::engine::general_purpose::STANDARD.encode(input);
    gateway.rpc("interactive.input", json!({ "terminal_id": id, "data": data })).await;
    let turn = |marker: &str, sandbox: &str| {
        let prompt = format!("run: {}", detached(marker));
        gateway.stream("/exec", &[], json!({ "prompt": prompt, "sandbox": sandbox }))
    };
    let turns = tokio::join!(turn(agent, "workspace-write"), turn(free_agent, free));
    let address = gateway.address;
    for (marker, sandbox) in [(exec, "workspace-write"), (free_exec, free)] {
        let params = json!({ "command": detached(marker), "shell": true, "sandbox": sandbox,
                             "timeout_ms": 3_600_000 });
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "exec", "params": params });
        let body = call.to_string().into_bytes();
        tokio::spawn(async move {
            let json = [("content-type", "application/json")];
            crate::support::client::request(address, "POST", "/jsonrpc", &json, body).await
        });
    }
    for marker in &markers {
        eventually("it runs", || async { process::process_runs(marker) }).await;
    }
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    drop(turns);
    for marker in &markers {
        let gone = || async { !process::command_line_holds(marker) };
        eventually("it is gone with the gateway", gone).await;
    }
}

#[tokio::test]
async fn detached_processes_end_with_their_exec() {
    let gateway = Gateway::config("[gateway]\nallow_danger_full_access = true\n").start();
    let marker = process::marker();
    let lines = [
        format!("setsid sleep {marker} > /dev/null 2>&1 & echo done"),
        format!("(setsid env -i setsid sleep {marker} > /dev/null 2>&1 &); echo done"),
    ];
    for line in lines {
        let params = json!({ "command": line, "shell": true, "sandbox": "danger-full-access" });
        let result = gateway.rpc("exec", params).await;
        assert_eq!(result["result"]["stdout"], "done\n", "{result}");
        eventually("it is gone", || async { !process::command_line_holds(&marker) }).await;
    }
}

/// Returns how many ended children of a process nobody has waited for.
fn zombies(parent: u32) -> usize {
    let of_parent = |stat: &str| {
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[0] == "Z" && fields[1] == parent.to_string()
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok())
        .filter(|stat| of_parent(stat))
        .count()
}

/// Returns the process that a starter has started.
fn child_of(starter: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{starter}/task/{starter}/children"));
    children.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn orphans_are_waited_for() {
    let free = "[gateway]\nallow_danger_full_access = true\n";
    for setup in [Gateway::config(free), Gateway::config(free).process_1()] {
        let process_1 = !setup.starter.is_empty();
        let mut gateway = setup.start();
        let pid = if process_1 { child_of(gateway.child.id()) } else { gateway.child.id() };
        let marker = process::marker();
        // A detached shell waits for the marker's file, so that it is seen before it ends.
        let line = format!(
            "(setsid sh -c 'until [ -e go ]; do sleep 0.05; done; exit 3' orphan {marker} \
              > /dev/null 2>&1 &); echo begun"
        );
        let body = json!({ "prompt": format!("run: {line}"), "cwd": "w", "sandbox": "danger-full-access" });
        let answer = soon("the turn", gateway.post("/api/v1/exec", body)).await.json();
        assert!(answer["stdout"].to_string().contains("begun"), "{answer}");
        eventually("it runs", || async { process::process_runs(&marker) }).await;
        std::fs::write(gateway.workspaces().join("w/go"), "").unwrap();
        eventually("it ends", || async { !process::process_runs(&marker) }).await;
        eventually("no zombie is left", || async { zombies(pid) == 0 }).await;
        // Whose exit the gateway itself waits for is not taken from it.
        let result = shell(&gateway, None, "sleep 3; exit 7").await;
        assert_eq!(result["exit_code"], 7, "{result}");
        kill(pid, "-TERM");
        assert_eq!(soon("the end", gateway.exit_code()).await, 0);
    }
}
