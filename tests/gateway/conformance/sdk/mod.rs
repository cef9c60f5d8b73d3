//! The providers' official SDKs (Python), which judge both sides of the wires: they read the
//! answers of the scripted providers, and their types check the requests of the bridge. `check.py`
//! runs them.

mod answers;
mod requests;

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::services::clean_command;
use crate::support::services::python_venv;
use crate::support::services::report_missing;
use crate::support::services::test_file;
use crate::support::soon;

/// A Python with the SDKs.
struct Sdks {
    python: PathBuf,
}

impl Sdks {
    /// Returns `None`, after a report, if they are not installed.
    async fn installed() -> Option<Self> {
        let venv = python_venv();
        let this = Self { python: venv.join("bin/python") };
        let missing = match this.command("ready.py").output().await {
            Ok(output) if output.status.success() => return Some(this),
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => format!("{}: {error}", this.python.display()),
        };
        report_missing(&format!(
            "the providers' SDKs are not installed: {missing}\n\
             python3 -m venv {0} && {0}/bin/pip install -r {1}",
            venv.display(),
            "tests/gateway/conformance/sdk/requirements.txt"
        ));
        None
    }

    fn command(&self, script: &str) -> Command {
        let mut command = clean_command(&self.python);
        // -B: no __pycache__ beside the scripts.
        command.arg("-B").arg(test_file("conformance/sdk").join(script));
        command
    }

    /// Runs `check.py`. Returns whether it succeeded, and its output.
    async fn check(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = self
            .command("check.py")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A write error means that it failed early; the reason is on stderr.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = soon("check.py", child.wait_with_output()).await.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// Returns what the SDK of a wire reads in the next `count` answers of a server.
    async fn answers(&self, wire: &str, base_url: &str, model: &str, count: usize) -> Vec<Value> {
        let count = count.to_string();
        let (succeeded, said) = self.check(&["answer", wire, base_url, model, &count], "").await;
        assert!(succeeded, "{wire}: check.py failed");
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn request_check_refuses_broken_requests() {
    let Some(sdks) = Sdks::installed().await else { return };
    let (succeeded, said) = sdks.check(&["self"], "").await;
    assert!(succeeded, "{said}");
    let (succeeded, said) = sdks.check(&["request", "chat"], "").await;
    assert!(!succeeded && said.contains("no request"), "no request is an error: {said}");
}
