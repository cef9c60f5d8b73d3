//! Real MCP servers in Python: the path of the script, and a server over HTTP.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use tempfile::NamedTempFile;

pub fn script() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/support/mcp_server.py")
}

/// A running server; killed when dropped.
pub struct HttpServer {
    pub url: String,
    child: Child,
    log: NamedTempFile,
}

impl HttpServer {
    pub fn start(token: &str) -> Self {
        Self::start_mode("http", token)
    }

    /// Starts a server that does not answer when its session is ended.
    pub fn start_hanging(token: &str) -> Self {
        Self::start_mode("http-hangs-at-end", token)
    }

    fn start_mode(mode: &str, token: &str) -> Self {
        let log = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Command::new("python3")
            .args([script(), mode, token])
            .env("MCP_TEST_REQUESTS", log.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        Self { url: format!("http://127.0.0.1:{}/mcp", port.trim()), child, log }
    }

    /// Returns the requests of this method: `headers` with names in lower case, and `message`.
    pub fn requests(&self, method: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(self.log.path()).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|request: &Value| request["message"]["method"] == method).collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
