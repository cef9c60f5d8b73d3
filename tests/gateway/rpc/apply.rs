//! `apply`: both patch forms, applied completely or not at all, and never outside the folder.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;

/// Returns everything below a folder except `.git`: files with content, links with targets.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let kind = entry.file_type().unwrap();
            if name == ".git" {
            } else if kind.is_dir() {
                found.insert(format!("{name}/"), String::new());
                folders.push(path);
            } else if kind.is_symlink() {
                found.insert(name, format!("-> {}", std::fs::read_link(&path).unwrap().display()));
            } else if !kind.is_file() {
                found.insert(name, "special".to_owned());
            } else {
                found.insert(
                    name,
                    String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
                );
            }
        }
    }
    found
}

/// Creates a folder with four files, optionally as a git repository.
fn repo(gateway: &Gateway, name: &str, git: bool) -> std::path::PathBuf {
    let folder = gateway.workspaces().join(name);
    std::fs::create_dir_all(folder.join("d")).unwrap();
    std::fs::write(folder.join("kept.txt"), "one\ntwo\nthree\n").unwrap();
    std::fs::write(folder.join("gone.txt"), "bye\n").unwrap();
    std::fs::write(folder.join("old name.txt"), "moved\n").unwrap();
    std::fs::write(folder.join("d/run.sh"), "#!/bin/sh\n").unwrap();
    if git {
        for args in [
            &["init", "-q"][..],
            &["add", "-A"],
            &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"],
        ] {
            assert!(
                Command::new("git").args(args).current_dir(&folder).status().unwrap().success()
            );
        }
    }
    folder
}

const UNIFIED: &str = "\
diff --git a/kept.txt b/kept.txt
--- a/kept.txt
+++ b/kept.txt
@@ -1,3 +1,3 @@
 one
-two
+2
 three
diff --git a/gone.txt b/gone.txt
deleted file mode 100644
--- a/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
-bye
diff --git a/old name.txt b/new/name.txt
similarity index 100%
rename from old name.txt
rename to new/name.txt
diff --git a/d/run.sh b/d/run.sh
old mode 100644
new mode 100755
diff --git a/added.txt b/added.txt
new file mode 100644
--- /dev/null
+++ b/added.txt
@@ -0,0 +1 @@
+hello
";

const CODEX: &str = "\
*** Begin Patch
*** Update File: kept.txt
@@
 one
-two
+2
 three
*** Delete File: gone.txt
*** Update File: old name.txt
*** Move to: new/name.txt
@@
-moved
+moved
*** Add File: added.txt
+hello
*** End Patch
";

/// Applies to `gone.txt` only.
const PARTIAL_UNIFIED: &str = "\
--- a/gone.txt
+++ b/gone.txt
@@ -1 +1 @@
-bye
+hello
--- a/kept.txt
+++ b/kept.txt
@@ -1,3 +1,3 @@
 one
-zwei
+2
 three
--- a/missing.txt
+++ b/missing.txt
@@ -1 +1 @@
-a
+b
";

/// The same changes in the other form.
const PARTIAL_CODEX: &str = "\
*** Begin Patch
*** Update File: gone.txt
@@
-bye
+hello
*** Update File: kept.txt
@@
-zwei
+2
*** Update File: missing.txt
@@
-a
+b
*** End Patch
";

async fn apply(gateway: &Gateway, params: Value) -> Value {
    let answer = gateway.rpc("apply", params).await;
    assert!(answer["error"].is_null(), "{answer}");
    answer["result"].clone()
}

#[tokio::test]
async fn both_patch_forms_apply_with_or_without_git() {
    let gateway = Gateway::start();
    for (name, patch, git) in
        [("ug", UNIFIED, true), ("up", UNIFIED, false), ("cg", CODEX, true), ("cp", CODEX, false)]
    {
        let folder = repo(&gateway, name, git);
        let before = contents(&folder);
        let params = json!({ "patch": patch, "repo_path": name, "dry_run": true });
        let dry = apply(&gateway, params).await;
        assert_eq!(
            [&dry["applied"], &dry["dry_run"], &dry["applies"]],
            [&json!(false), &json!(true), &json!(true)]
        );
        assert_eq!(contents(&folder), before, "a dry run changes nothing");

        let params = json!({ "patch": patch, "repo_path": folder.display().to_string() });
        let done = apply(&gateway, params).await;
        assert_eq!((&done["applied"], &done["dry_run"]), (&json!(true), &json!(false)), "{done}");
        assert_eq!((&done["conflicts"], &done["files"]), (&json!([]), &dry["files"]));
        let mut expected = vec![
            json!({ "path": "added.txt", "status": "added" }),
            json!({ "path": "gone.txt", "status": "deleted" }),
            json!({ "path": "kept.txt", "status": "modified" }),
            json!({ "path": "new/name.txt", "status": "renamed", "from": "old name.txt" }),
        ];
        let mode = std::fs::metadata(folder.join("d/run.sh")).unwrap().permissions().mode() & 0o111;
        if patch == UNIFIED {
            expected.insert(1, json!({ "path": "d/run.sh", "status": "modified" }));
        }
        assert_eq!((mode == 0o111, &done["files"]), (patch == UNIFIED, &Value::from(expected)));
        let now = contents(&folder);
        let names: Vec<&str> = now.keys().map(String::as_str).collect();
        assert_eq!(names, ["added.txt", "d/", "d/run.sh", "kept.txt", "new/", "new/name.txt"]);
        assert_eq!((&*now["kept.txt"], &*now["added.txt"]), ("one\n2\nthree\n", "hello\n"));
        assert_eq!(now["new/name.txt"], "moved\n");
        let printed = format!("{}{}", done["stdout"], done["stderr"]);
        assert!(printed.contains("added.txt"), "{printed}");

        let again = apply(&gateway, json!({ "patch": patch, "repo_path": name })).await;
        assert_eq!(
            (&again["applied"], &again["applies"]),
            (&json!(false), &json!(false)),
            "{again}"
        );
        assert_eq!(contents(&folder), now);
    }
}

#[tokio::test]
async fn partial_patch_changes_nothing_and_lists_conflicts() {
    let gateway = Gateway::start();
    let folder = repo(&gateway, "r", true);
    let before = contents(&folder);
    for (patch, line) in [(PARTIAL_UNIFIED, json!(1)), (PARTIAL_CODEX, Value::Null)] {
        for dry_run in [true, false] {
            let params = json!({ "patch": patch, "repo_path": "r", "dry_run": dry_run });
            let result = apply(&gateway, params).await;
            assert_eq!((&result["applied"], &result["applies"]), (&json!(false), &json!(false)));
            let conflicts = result["conflicts"].as_array().unwrap();
            let paths: Vec<&Value> = conflicts.iter().map(|one| &one["path"]).collect();
            assert!(
                paths.contains(&&json!("kept.txt")) && paths.contains(&&json!("missing.txt")),
                "{result}"
            );
            assert!(!paths.contains(&&json!("gone.txt")));
            let kept = conflicts.iter().find(|one| one["path"] == "kept.txt").unwrap();
            assert_eq!(kept["line"], line, "{result}");
            assert!(!kept["reason"].as_str().unwrap().is_empty());
            assert_eq!((&result["files"], contents(&folder)), (&json!([]), before.clone()));
        }
    }
}

#[tokio::test]
async fn unprefixed_and_binary_diffs_apply() {
    let gateway = Gateway::start();
    let folder = repo(&gateway, "r", false);
    let plain =
        "--- d/run.sh\t2026-01-01\n+++ d/run.sh\t2026-01-02\n@@ -1 +1,2 @@\n #!/bin/sh\n+id\n";
    let result = apply(&gateway, json!({ "patch": plain, "repo_path": "r" })).await;
    assert_eq!(result["files"], json!([{ "path": "d/run.sh", "status": "modified" }]), "{result}");
    assert_eq!(contents(&folder)["d/run.sh"], "#!/bin/sh\nid\n");

    let other = repo(&gateway, "made", true);
    std::fs::write(other.join("bytes"), [0_u8, 255, 1, 254]).unwrap();
    let git =
        |args: &[&str]| Command::new("git").args(args).current_dir(&other).output().unwrap().stdout;
    git(&["add", "-A"]);
    let patch = String::from_utf8(git(&["diff", "--cached", "--binary"])).unwrap();
    let result = apply(&gateway, json!({ "patch": patch, "repo_path": "r" })).await;
    assert_eq!(result["files"], json!([{ "path": "bytes", "status": "added" }]), "{result}");
    assert_eq!(std::fs::read(folder.join("bytes")).unwrap(), [0, 255, 1, 254]);
}

fn change(path: &str) -> String {
    format!("--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-secret\n+public\n")
}

fn add(path: &str) -> String {
    format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n")
}

fn codex(hunk: &str) -> String {
    format!("*** Begin Patch\n{hunk}\n*** End Patch\n")
}

/// Renames or copies a file.
fn moves(kind: &str, from: &str, to: &str) -> String {
    format!(
        "diff --git a/{from} b/{to}\nsimilarity index 100%\n{kind} from {from}\n{kind} to {to}\n"
    )
}

/// Adds a file `l` of this mode with the content of a link.
fn link(mode: &str) -> String {
    format!(
        "diff --git a/l b/l\nnew file mode {mode}\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+../outside\n\\ No newline at end of file\n"
    )
}

#[tokio::test]
async fn hostile_patch_is_refused_by_path() {
    let gateway = Gateway::start();
    let folder = repo(&gateway, "r", true);
    let outside = gateway.workspaces().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("f"), "secret\n").unwrap();
    for (link, to) in [("out", "../outside"), ("file", "../outside/f"), ("inner", "d")] {
        std::os::unix::fs::symlink(to, folder.join(link)).unwrap();
    }
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    let absolute = outside.join("f").display().to_string();
    for (patch, path) in [
        (change("../outside/f"), "../outside/f"),
        (add("d/../../outside/new"), "d/../../outside/new"),
        (add(&format!("/{absolute}")), "inside repo_path"),
        (format!("--- {absolute}\n+++ {absolute}\n@@ -1 +1 @@\n-secret\n+public\n"), "inside repo_path"),
        (change("out/f"), "out/f"),
        (add("out/new"), "out/new"),
        (change("file"), "\"file\""),
        (add("file"), "\"file\""),
        (change("inner/run.sh"), "inner/run.sh"),
        (change("pipe"), "\"pipe\""),
        (add("kept.txt/below"), "kept.txt/below"),
        (moves("rename", "kept.txt", "../outside/new"), "../outside/new"),
        (moves("rename", "../outside/f", "mine"), "../outside/f"),
        (moves("copy", "../outside/f", "mine"), "../outside/f"),
        (moves("copy", "file", "mine"), "\"file\""),
        (moves("copy", "kept.txt", "out/new"), "out/new"),
        (link("120000"), "b/l\""),
        (link("160000"), "b/l\""),
        (format!("{}{}", link("120000"), add("l/new")), "b/l\""),
        (add(".git/hooks/post-checkout"), ".git/hooks/post-checkout"),
        (add("d/.GIT/config"), "d/.GIT/config"),
        (moves("rename", ".git/config", "mine"), ".git/config"),
        ("diff --git \"a/\\056\\056/outside/f\" \"b/\\056\\056/outside/f\"\ndeleted file mode 100644\n".to_owned(), "../outside/f"),
        (codex("*** Add File: ../outside/new\n+x"), "../outside/new"),
        (codex(&format!("*** Add File: {absolute}\n+x")), "inside repo_path"),
        (codex("*** Delete File: out/f"), "out/f"),
        (codex("*** Update File: file\n@@\n-secret\n+public"), "\"file\""),
        (codex("*** Update File: kept.txt\n*** Move to: ../outside/new\n@@\n-one\n+1"), "../outside/new"),
        (codex("*** Update File: kept.txt\n*** Move to: out/new\n@@\n-one\n+1"), "out/new"),
        (codex("*** Add File: .git/config\n+x"), ".git/config"),
    ] {
        let (before, far) = (contents(&folder), contents(&outside));
        let answer = gateway.rpc("apply", json!({ "patch": patch, "repo_path": "r" })).await;
        assert_eq!(answer["error"]["code"], -32602, "{patch}: {answer}");
        let detail = answer["error"]["data"]["detail"].as_str().unwrap();
        assert!(detail.starts_with("patch: ") && detail.contains(path), "{patch}: {detail}");
        assert_eq!((contents(&folder), contents(&outside)), (before, far), "{patch}");
    }
}

#[tokio::test]
async fn repository_config_runs_no_programs() {
    let gateway = Gateway::start();
    let folder = repo(&gateway, "r", true);
    let ran = gateway.home.path().join("ran");
    let program = format!("sh -c 'touch {}; cat'", ran.display());
    for key in
        ["filter.x.clean", "filter.x.smudge", "merge.x.driver", "core.fsmonitor", "core.pager"]
    {
        let done =
            Command::new("git").args(["config", key, &program]).current_dir(&folder).status();
        assert!(done.unwrap().success());
    }
    std::fs::write(folder.join(".gitattributes"), "* filter=x merge=x text eol=crlf\n").unwrap();
    let patch = format!(
        "{UNIFIED}--- a/.gitattributes\n+++ b/.gitattributes\n@@ -1 +1,2 @@\n * filter=x merge=x text eol=crlf\n+# more\n"
    );
    let result = apply(&gateway, json!({ "patch": patch, "repo_path": "r" })).await;
    assert_eq!(result["applied"], true, "{result}");
    assert!(!ran.exists());
}

#[tokio::test]
async fn invalid_param_names_field_and_expectation() {
    let gateway = Gateway::config("[gateway]\nbody_limit_bytes = 200000\n").start();
    repo(&gateway, "r", false);
    let wide = gateway.workspaces().join("r/wide");
    std::fs::File::create(wide).unwrap().set_len(65 << 20).unwrap();
    for (params, says) in [
        (json!({ "repo_path": "r" }), "patch: expected a value, got nothing"),
        (json!({ "patch": UNIFIED }), "repo_path: expected a value, got nothing"),
        (json!({ "patch": 1, "repo_path": "r" }), "patch: expected a string, got 1"),
        (
            json!({ "patch": UNIFIED, "repo_path": ["r"] }),
            "repo_path: expected a string, got a list",
        ),
        (
            json!({ "patch": UNIFIED, "repo_path": "r", "dry_run": 1 }),
            "dry_run: expected true or false, got 1",
        ),
        (json!({ "patch": " \n", "repo_path": "r" }), "patch: expected text that is not blank"),
        (json!({ "patch": "hello", "repo_path": "r" }), "patch: expected a unified diff"),
        (
            json!({ "patch": "*** Begin Patch\nwhat\n*** End Patch", "repo_path": "r" }),
            "patch: invalid hunk at line 2",
        ),
        (
            json!({ "patch": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n", "repo_path": "r" }),
            "patch: line 4: expected the lines of a hunk",
        ),
        (
            json!({ "patch": UNIFIED, "repo_path": "" }),
            "repo_path: expected a folder inside the workspace root",
        ),
        (json!({ "patch": UNIFIED, "repo_path": "." }), "repo_path: expected a folder inside"),
        (
            json!({ "patch": UNIFIED, "repo_path": "r/../.." }),
            "repo_path: expected a folder inside",
        ),
        (json!({ "patch": UNIFIED, "repo_path": "/tmp" }), "repo_path: expected a folder inside"),
        (
            json!({ "patch": UNIFIED, "repo_path": "none" }),
            "repo_path: expected an existing folder",
        ),
        (
            json!({ "patch": UNIFIED, "repo_path": "r/kept.txt" }),
            "repo_path: expected an existing folder",
        ),
        (
            json!({ "patch": "--- a/wide\n+++ b/wide\n@@ -1 +1 @@\n-a\n+b\n", "repo_path": "r" }),
            "patch: expected to touch files of at most",
        ),
    ] {
        gateway.assert_rpc_error("apply", params, -32602, says).await;
    }
    let big = json!({ "jsonrpc": "2.0", "id": 1, "method": "apply",
                      "params": { "patch": "x".repeat(300_000), "repo_path": "r" } });
    assert_eq!(gateway.post("/jsonrpc", big).await.status, 413);
}
