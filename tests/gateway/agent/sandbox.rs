//! The sandbox: commands are confined, and the reported protection is true.

use serde_json::json;

use crate::support::Gateway;
use crate::support::client::kinds;
use crate::support::path_without_sandbox;

#[tokio::test]
async fn commands_are_confined_to_their_folder() {
    let gateway = Gateway::start();
    let outside = gateway.home.path().join("outside");
    let prompt = format!("run: echo in > inside; echo out > {}", outside.display());
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": prompt, "cwd": "w" })).await.json();
    assert_eq!((&answer["sandbox"], &answer["tools"]), (&json!("bubblewrap"), &json!("on")));
    assert!(gateway.workspaces().join("w/inside").exists());
    assert!(!outside.exists());
    assert!(answer["task_result"]["summary"].as_str().unwrap().contains("Read-only file system"));

    let prompt = "run: echo x > inside";
    let body = json!({ "prompt": prompt, "sandbox": "read-only", "cwd": "r" });
    gateway.post("/api/v1/exec", body).await;
    assert!(!gateway.workspaces().join("r/inside").exists());
    let full = json!({ "prompt": "run: id", "sandbox": "danger-full-access" });
    let refused = gateway.post("/exec", full).await;
    assert_eq!(refused.status, 403);
    assert!(refused.json()["detail"].as_str().unwrap().contains("allow_danger_full_access"));
}

#[tokio::test]
async fn commands_see_no_gateway_secrets() {
    let gateway = Gateway::env("GATEWAY_API_KEY", "canary-key-1")
        .env("GITHUB_TOKEN", "canary-key-2")
        .env("OAUTH_CLIENT_SECRET", "canary-key-3")
        .start();
    let key = [("x-api-key", "canary-key-1")];
    let answer =
        gateway.post_with("/api/v1/exec", &key, json!({ "prompt": "run: env" })).await.json();
    let printed = answer["stdout"].as_str().unwrap();
    assert!(printed.contains("PATH=") && !printed.contains("canary"), "{printed}");
}

#[tokio::test]
async fn commands_cannot_read_keys_logins_or_other_conversations() {
    let gateway = Gateway::config("[gateway]\napi_keys = [\"canary-key\"]\n").start();
    std::fs::write(gateway.home.path().join("auth.json"), "{\"canary\": 1}").unwrap();
    let home = gateway.home.path().display().to_string();
    let key = [("x-api-key", "canary-key")];
    let prompt = format!(
        "run: cat {home}/config.toml {home}/auth.json {home}/gateway/*; ls {home}/sessions; echo end"
    );
    let answer = gateway.post_with("/api/v1/exec", &key, json!({ "prompt": prompt })).await.json();
    let printed = answer["stdout"].as_str().unwrap();
    assert!(printed.contains("end"), "{answer}");
    assert!(!printed.contains("canary") && !printed.contains("conversation_id"), "{printed}");
    assert!(!printed.contains("20"), "a year of recorded sessions: {printed}");
}

#[tokio::test]
async fn commands_cannot_read_core_databases() {
    let gateway = Gateway::start();
    let home = gateway.home.path().to_owned();
    gateway.post("/api/v1/exec", json!({ "prompt": "run: echo canary-words" })).await;
    let holds = |file: &std::path::Path| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(12).any(|words| words == b"canary-words")
    };
    let databases: Vec<_> =
        std::fs::read_dir(&home).unwrap().flatten().map(|file| file.path()).collect();
    assert!(databases.iter().any(|file| holds(file)), "no database holds the words: {databases:?}");

    // Commands can read skills and the helpers of core.
    let skill = home.join("skills/mine/SKILL.md");
    std::fs::create_dir_all(skill.parent().unwrap()).unwrap();
    std::fs::write(&skill, "a skill").unwrap();
    let prompt = format!(
        "run: cd {}; grep -rha 'canary[-]words' .; ls -a; cat skills/mine/SKILL.md; \
         command -v apply_patch; echo end",
        home.display()
    );
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": prompt })).await.json();
    let printed = answer["stdout"].as_str().unwrap();
    assert!(!printed.contains("canary"), "{printed}");
    assert!(!printed.contains(".sqlite") && printed.contains("a skill"), "{printed}");
    assert!(printed.contains("/apply_patch") && printed.contains("end"), "{printed}");
}

#[tokio::test]
async fn commands_cannot_change_git_or_codex_config() {
    const FILES: [&str; 3] = [".git/config", ".codex/config.toml", ".agents/x"];
    let gateway = Gateway::start();
    let folder = |name: &str| gateway.workspaces().join(name);
    for file in FILES {
        let file = folder("there").join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "mine").unwrap();
    }
    let line = "echo x > beside; mkdir .git .codex .agents; \
                for f in .git/config .codex/config.toml .agents/x; do echo theirs > $f; done; \
                mkdir gone; mv .git .codex .agents gone";
    for cwd in ["there", "new"] {
        let body = json!({ "prompt": format!("run: {line}"), "cwd": cwd });
        gateway.post("/api/v1/exec", body).await;
        assert!(folder(cwd).join("beside").exists());
    }
    for file in FILES {
        assert_eq!(std::fs::read_to_string(folder("there").join(file)).unwrap(), "mine");
        assert!(!folder("new").join(file).exists());
    }
}

#[tokio::test]
async fn sandbox_choice_lasts_one_turn() {
    let gateway = Gateway::start();
    let body = |sandbox: Option<&str>, file: &str| json!({ "prompt": format!("run: echo x > {file}"), "session_id": "s", "cwd": "c", "sandbox": sandbox });
    gateway.post("/api/v1/exec", body(Some("read-only"), "one")).await;
    gateway.post("/api/v1/exec", body(Some("workspace-write"), "two")).await;
    gateway.post("/api/v1/exec", body(None, "three")).await;
    let gateway = gateway.kill_and_restart();
    gateway.post("/api/v1/exec", body(None, "four")).await;
    let there = |file: &str| gateway.workspaces().join("c").join(file).exists();
    // The conversation started read-only and stays so, also after a restart.
    assert_eq!(["one", "two", "three", "four"].map(there), [false, true, false, false]);
}

#[tokio::test]
async fn missing_sandbox_disables_tools_and_reports_it() {
    let path = path_without_sandbox();
    let gateway = Gateway::env("PATH", path.path().to_str().unwrap()).start();
    let health = gateway.get("/health").await.json();
    assert_eq!((&health["sandbox"], &health["tools"]), (&json!("none"), &json!("off")));
    assert!(health["sandbox_fix"].as_str().unwrap().contains("apt-get install bubblewrap"));

    let events = gateway.exec(json!({ "prompt": "run: echo hi" })).await;
    let kinds = kinds(&events);
    assert!(!kinds.iter().any(|kind| kind.starts_with("exec_command")), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"task_complete"));

    for prompt in ["run: echo hi", "create a python script that prints hello world"] {
        let answer = gateway.post("/api/v1/exec", json!({ "prompt": prompt })).await.json();
        assert_eq!(answer["status"], "completed");
        assert_eq!((&answer["sandbox"], &answer["tools"]), (&json!("none"), &json!("off")));
        assert_eq!((&answer["stdout"], &answer["files_created"]), (&json!(""), &json!([])));
        let streamed = gateway.stream("/exec", &[], json!({ "prompt": prompt })).await;
        assert_eq!(
            ["x-sandbox", "x-tools"].map(|name| streamed.headers[name].to_str().unwrap()),
            ["none", "off"]
        );
        let called = gateway.rpc("conversation.prompt", json!({ "prompt": prompt })).await;
        assert_eq!(called["result"]["tools"], "off");
        let next_steps = answer["task_result"]["next_steps"].to_string();
        assert!(next_steps.contains("bubblewrap"), "{next_steps}");
    }
}

#[tokio::test]
async fn operator_can_run_without_a_sandbox() {
    let path = path_without_sandbox();
    let gateway = Gateway::env("PATH", path.path().to_str().unwrap())
        .env("CODEX_UNSAFE_ALLOW_NO_SANDBOX", "1")
        .start();
    let body = json!({ "prompt": "run: echo plainly", "sandbox": "workspace-write" });
    let answer = gateway.post("/api/v1/exec", body).await.json();
    assert_eq!((&answer["sandbox"], &answer["tools"]), (&json!("none"), &json!("unsandboxed")));
    assert!(answer["stdout"].as_str().unwrap().contains("plainly"), "{answer}");
}
