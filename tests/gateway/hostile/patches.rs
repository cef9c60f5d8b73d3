//! Patches that would exhaust memory, disk or time, or that would destroy files.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::support::Gateway;
use crate::support::process::resident_memory;

/// The digits of base 85, as git orders them.
const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Returns a patch that adds a file of zeros, which says that it has `declared` bytes.
fn bomb(bytes: usize, declared: usize) -> String {
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for at in (0..bytes).step_by(zeros.len()) {
        deflate.write_all(&zeros[..zeros.len().min(bytes - at)]).unwrap();
    }
    let (none, some) = ("0".repeat(40), "1".repeat(40));
    let mut patch = format!(
        "diff --git a/bomb b/bomb\nnew file mode 100644\nindex {none}..{some}\n\
         GIT binary patch\nliteral {declared}\n"
    );
    for line in deflate.finish().unwrap().chunks(52) {
        let length = line.len() as u8;
        patch.push(char::from(if length > 26 { b'a' + length - 27 } else { b'A' + length - 1 }));
        for group in line.chunks(4) {
            let mut four = [0; 4];
            four[..group.len()].copy_from_slice(group);
            let value = u32::from_be_bytes(four);
            for power in (0..5).rev() {
                patch.push(char::from(DIGITS[(value / 85_u32.pow(power) % 85) as usize]));
            }
        }
        patch.push('\n');
    }
    patch + "\nliteral 0\nHcmV?d00001\n\n"
}

async fn apply(gateway: &Gateway, patch: &str, dry_run: bool) -> Value {
    let params = json!({ "patch": patch, "repo_path": "r", "dry_run": dry_run });
    gateway.rpc("apply", params).await
}

/// Returns the detail of an error.
fn detail(answer: &Value) -> &str {
    answer["error"]["data"]["detail"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn folder(gateway: &Gateway) -> std::path::PathBuf {
    let folder = gateway.workspaces().join("r");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn binary_patch_does_not_unpack_beyond_bounds() {
    let gateway = Gateway::start();
    let folder = folder(&gateway);
    let size = 150 << 20;
    let (honest, lying) = (bomb(size, size), bomb(size, 1000));
    assert!(honest.len() < 300_000, "{}", honest.len());
    apply(&gateway, &bomb(1000, 1000), true).await;
    let before = resident_memory(gateway.child.id());
    for dry_run in [true, false] {
        let answer = apply(&gateway, &honest, dry_run).await;
        assert!(detail(&answer).contains("results of at most 67108864 bytes"), "{answer}");
        let answer = apply(&gateway, &lying, dry_run).await;
        assert!(detail(&answer).contains("declared size"), "{answer}");
    }
    let grown = resident_memory(gateway.child.id()).saturating_sub(before);
    assert!(grown < 32 << 20, "resident memory grew by {grown} bytes");
    assert!(names(&folder).is_empty());
}

#[tokio::test]
async fn copies_of_a_file_are_bounded_together() {
    let gateway = Gateway::start();
    let folder = folder(&gateway);
    std::fs::write(folder.join("f"), vec![b'x'; 20 << 20]).unwrap();
    let mut patch = String::new();
    for n in 0..1000 {
        write!(patch, "diff --git a/f b/c{n}\ncopy from f\ncopy to c{n}\n").unwrap();
    }
    let answer = apply(&gateway, &patch, false).await;
    assert!(detail(&answer).contains("results of at most"), "{answer}");
    assert_eq!(names(&folder), ["f"]);
}

#[tokio::test]
async fn hundred_hunks_share_one_pass_over_a_file() {
    let gateway = Gateway::start();
    let folder = folder(&gateway);
    let lines: String = (0..1_000_000).map(|n| format!("{n:019}\n")).collect();
    assert_eq!(lines.len(), 20_000_000);
    std::fs::write(folder.join("f"), &lines).unwrap();
    for section in ["", "*** Update File: f\n"] {
        let mut patch = String::from("*** Begin Patch\n*** Update File: f\n");
        for n in 0..100 {
            let head = if n == 0 { "" } else { section };
            write!(patch, "{head}@@\n-{:019}\n+{n}\n", 900_000 + n).unwrap();
        }
        patch.push_str("*** End Patch");
        // A pass for each hunk would search 2 GB: twice the bound of work.
        let answer = apply(&gateway, &patch, true).await;
        assert_eq!(answer["result"]["applies"], true, "{answer}");
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed() {
    let gateway = Gateway::start();
    let folder = folder(&gateway);
    std::fs::write(folder.join(".0190163d-8694-739b-aea5-966c26f8ad91.patch"), "half").unwrap();
    std::fs::write(folder.join(".mine.patch"), "").unwrap();
    let patch = "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n";
    let answer = apply(&gateway, patch, false).await;
    assert_eq!(answer["result"]["applied"], true, "{answer}");
    assert_eq!(names(&folder), [".mine.patch", "f"]);
}

/// A file, a patch of it, and its content after; `None` if the patch is refused.
type Case = (&'static str, String, Option<&'static str>);

fn cases() -> [Case; 9] {
    let codex = |body: &str| format!("*** Begin Patch\n{body}\n*** End Patch");
    let update = |body: &str| codex(&format!("*** Update File: f\n{body}"));
    let diff = |hunk: &str| format!("--- a/f\n+++ b/f\n{hunk}");
    let dated = "--- a/f 2024-01-01 00:00:00.000000000 +0000\n\
                 +++ b/f 2024-01-01 00:00:01.000000000 +0000\n@@ -1 +1 @@\n-1\n+2\n";
    let narrow = update("@@\n   a = 1\n-  b = 2\n+  b = 3");
    [
        ("before\n", update("*** Move to: f\n@@\n-before\n+after"), Some("after\n")),
        ("1\n2\n3\n4\n", diff("@@ -3,0 +4 @@\n+new\n"), Some("1\n2\n3\nnew\n4\n")),
        ("old\n", codex("*** Add File: f\n+new"), None),
        ("    a = 1\n    b = 2\n", narrow, None),
        ("a\r\nb\r\nc\r\n", update("@@\n a\n-b\n+B"), Some("a\r\nB\r\nc\r\n")),
        ("x", update("@@\n-x\n+y"), Some("y")),
        ("1\n", diff("@@ -1 +1 @@\n-1\n+2"), Some("2\n")),
        ("1\n", dated.to_owned(), Some("2\n")),
        ("a\na\n", update("@@\n-a\n+b"), None),
    ]
}

#[tokio::test]
async fn patch_never_destroys_and_never_lies() {
    let gateway = Gateway::start();
    let folder = folder(&gateway);
    for (file, patch, expected) in cases() {
        std::fs::write(folder.join("f"), file).unwrap();
        let answer = apply(&gateway, &patch, false).await;
        let found = std::fs::read_to_string(folder.join("f")).unwrap();
        assert_eq!(found, expected.unwrap_or(file), "{patch}: {answer}");
        assert_eq!(answer["result"]["applied"], expected.is_some(), "{patch}: {answer}");
        let reasons = answer["result"]["conflicts"].as_array().unwrap();
        assert_eq!(reasons.is_empty(), expected.is_some(), "{answer}");
    }
}
