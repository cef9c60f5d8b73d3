//! Files of a project that core reads outside the sandbox: documents, skills, configuration. None
//! leads out of the folder.

use serde_json::Value;
use serde_json::json;

use super::agent;
use super::shell;
use crate::support::Gateway;
use crate::support::gateway::Setup;
use crate::support::model::Model;

fn setup(model: &Model) -> Setup {
    Setup::default().config(&model.config()).env("SCRIPTED_KEY", "key")
}

/// What the model got of a prompt in a folder.
async fn request(gateway: &Gateway, model: &Model, body: Value) -> String {
    let answer = gateway.post("/api/v1/exec", body).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    model.last_request()
}

#[tokio::test]
async fn linked_documents_are_never_read() {
    let model = Model::start(200).await;
    let gateway = setup(&model).config("# canary\n").start();
    let secret = gateway.home.path().join("config.toml").display().to_string();
    for name in ["AGENTS.md", "AGENTS.override.md"] {
        for (number, line) in [
            format!("ln -s {secret} {name}"),
            format!("mkfifo {name}"),
            format!("mkdir {name}"),
            // By way of a repository.
            format!(
                "git init -q r && ln -s {secret} r/{name} && cd r && git add . && \
                 git -c user.name=a -c user.email=a@b commit -qm1 && cd .. && \
                 git clone -q r c && mv c/{name} ."
            ),
        ]
        .iter()
        .enumerate()
        {
            let cwd = format!("{name}-{number}");
            let made = shell(&gateway, Some(&cwd), line).await;
            assert_eq!(made["exit_code"], 0, "{made}");
            let got = request(&gateway, &model, json!({ "prompt": "hi", "cwd": cwd })).await;
            assert!(got.contains("hi") && !got.contains("canary"), "{cwd}: {got}");
        }
    }
    gateway.logged("project document is skipped").await;
}

#[tokio::test]
async fn documents_that_the_agent_links_are_skipped() {
    let gateway = Gateway::config("# canary\n").process_1().start();
    let secret = gateway.home.path().join("config.toml").display().to_string();
    let clone = format!(
        "git init -q r && ln -s {secret} r/AGENTS.md && cd r && git add . && \
         git -c user.name=a -c user.email=a@b commit -qm1 && cd .. && git clone -q r c && \
         cp -P c/AGENTS.md . && readlink AGENTS.md"
    );
    for (cwd, line) in
        [("a", format!("ln -s {secret} AGENTS.md && readlink AGENTS.md")), ("b", clone)]
    {
        assert!(agent(&gateway, cwd, &line).await.contains(&secret));
    }
    // The documents of a folder are those of the first request to its model.
    let model = Model::start(200).await;
    let setup = setup(&model).config("# canary\n").process_1();
    let gateway = gateway.restart_as(setup);
    for cwd in ["a", "b"] {
        let got = request(&gateway, &model, json!({ "prompt": "hi", "cwd": cwd })).await;
        assert!(got.contains("hi") && !got.contains("canary"), "{cwd}: {got}");
    }
    assert!(gateway.log.lock().unwrap().contains("project document is skipped"));
}

#[tokio::test]
async fn documents_reach_the_model_in_order() {
    let model = Model::start(200).await;
    let more = "project_doc_max_bytes = 40\nproject_doc_fallback_filenames = [\"NOTES.md\"]\n";
    let gateway = Setup::default().config(more).config(&model.config()).env("SCRIPTED_KEY", "key");
    let gateway = gateway.start();
    std::fs::write(gateway.home.path().join("AGENTS.md"), "words-of-home").unwrap();
    let folder = |path: &str| {
        let folder = gateway.workspaces().join(path);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    std::fs::write(folder("").join("AGENTS.md"), "words-of-root").unwrap();
    folder("p/.git");
    std::fs::write(folder("p").join("AGENTS.md"), "words-of-p").unwrap();
    std::fs::write(folder("p/q").join("NOTES.md"), "words-of-q").unwrap();
    std::fs::write(folder("p/q/r").join("AGENTS.md"), "words-of-r").unwrap();
    std::fs::write(folder("p/q/r").join("AGENTS.override.md"), "override-of-r, which is cut")
        .unwrap();
    let body = json!({ "prompt": "hi", "cwd": "p/q/r", "session_id": "s" });
    let got = request(&gateway, &model, body).await;
    let expected = "words-of-home\\n\\n--- project-doc ---\\n\\nwords-of-p\\n\\nwords-of-q\\n\\noverride-of-r, which";
    assert!(got.contains(expected), "{got}");
    for absent in ["words-of-root", "words-of-r\"", "is cut"] {
        assert!(!got.contains(absent), "{absent}: {got}");
    }

    // A resumed conversation keeps them.
    let gateway = gateway.kill_and_restart();
    let got = request(&gateway, &model, json!({ "prompt": "again", "session_id": "s" })).await;
    assert!(got.contains(expected) && got.contains("again"), "{got}");
}

#[tokio::test]
async fn skills_that_lead_out_are_refused() {
    let model = Model::start(200).await;
    let gateway = setup(&model).start();
    let skill = "---\nname: mine\ndescription: words-of-mine\n---\n";
    let folder = gateway.workspaces().join("w/.agents/skills/mine");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("SKILL.md"), skill).unwrap();
    let got = request(&gateway, &model, json!({ "prompt": "hi", "cwd": "w" })).await;
    assert!(got.contains("words-of-mine"), "{got}");

    for (number, target) in ["../../../../other", "/etc", "nowhere"].iter().enumerate() {
        let skills = gateway.workspaces().join(format!("w{number}/.agents/skills"));
        std::fs::create_dir_all(&skills).unwrap();
        std::os::unix::fs::symlink(target, skills.join("out")).unwrap();
        let body = json!({ "prompt": "hi", "cwd": format!("w{number}") });
        let answer = gateway.post("/api/v1/exec", body).await;
        assert_eq!(answer.status, 400, "{}", answer.json());
        assert!(answer.json()["detail"].as_str().unwrap().contains(".agents/skills/out"));
    }
}

#[tokio::test]
async fn configuration_in_the_workspace_root_is_ignored() {
    let gateway = Gateway::start();
    let trusted = format!(
        "[projects.\"{}\"]\ntrust_level = \"trusted\"\n",
        gateway.workspaces().canonicalize().unwrap().display()
    );
    let own = gateway.workspaces().join(".codex");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("config.toml"), "shell_environment_policy.set.LEAK = \"canary\"\n")
        .unwrap();
    let gateway = gateway.restart_with(&trusted);
    let answer = gateway.post("/api/v1/exec", json!({ "prompt": "run: env" })).await.json();
    let printed = answer["stdout"].as_str().unwrap();
    assert!(printed.contains("PATH=") && !printed.contains("canary"), "{printed}");
}
