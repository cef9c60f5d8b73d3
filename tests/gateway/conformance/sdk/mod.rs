//! The providers' official SDKs (Python) as judges of both sides of the bridge's wires: they read what
//! the scripted providers say, and their types check what the bridge sends. `sdk/check.py` does it.

mod answers;
mod requests;

use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::soon;

/// A Python that has the SDKs.
struct Sdks {
    python: PathBuf,
}

impl Sdks {
    /// None, said aloud, where they are not installed; where services are required, that is a failure.
    async fn installed() -> Option<Self> {
        let venv = std::env::var_os("GATEWAY_SDK_VENV").map_or_else(
            || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("sdk-venv"),
            PathBuf::from,
        );
        let this = Self { python: venv.join("bin/python") };
        let lacking = match this.command("ready.py").output().await {
            Ok(output) if output.status.success() => return Some(this),
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => format!("{}: {error}", this.python.display()),
        };
        let hint = format!(
            "the providers' SDKs are not installed: {lacking}\n\
             python3 -m venv {0} && {0}/bin/pip install -r tests/gateway/conformance/sdk/requirements.txt",
            venv.display()
        );
        assert!(
            std::env::var_os("GATEWAY_REQUIRE_SERVICES").is_none_or(|set| set != "1"),
            "{hint}"
        );
        eprintln!("SKIPPED: {hint}");
        None
    }

    fn command(&self, script: &str) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/conformance/sdk");
        let mut command = Command::new(&self.python);
        // -B: no __pycache__ in the sources. Nothing of the developer's keys and proxies either.
        command.env_clear().arg("-B").arg(folder.join(script)).kill_on_drop(true);
        command
    }

    /// What `check.py` printed, and whether it was content.
    async fn check(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = self
            .command("check.py")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Where it fails early it says why on stderr, and reads no further.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = soon("check.py", child.wait_with_output()).await.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// What a wire's SDK reads in the next `count` answers of a server.
    async fn answers(&self, wire: &str, base_url: &str, model: &str, count: usize) -> Vec<Value> {
        let count = count.to_string();
        let (content, said) = self.check(&["answer", wire, base_url, model, &count], "").await;
        assert!(content, "{wire}: check.py failed");
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn request_check_refuses_broken_requests() {
    let Some(sdks) = Sdks::installed().await else { return };
    let (content, said) = sdks.check(&["self"], "").await;
    assert!(content, "{said}");
    let (content, said) = sdks.check(&["request", "chat"], "").await;
    assert!(!content && said.contains("no request"), "nothing to check is not right: {said}");
}
