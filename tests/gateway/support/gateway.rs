//! The real binary as a process, on a port of its own, with a codex home of its own.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::client;
use super::client::Lines;
use super::client::Reply;

/// A gateway that is running; killed when dropped.
pub struct Gateway {
    pub address: SocketAddr,
    pub home: Arc<TempDir>,
    pub child: Child,
    /// All that it printed, on standard output and standard error.
    pub log: Arc<Mutex<String>>,
    /// What it printed on standard output alone.
    pub stdout: Arc<Mutex<String>>,
    setup: Setup,
}

/// How a gateway is started.
#[derive(Clone, Default)]
pub struct Setup {
    pub config: String,
    pub env: Vec<(String, String)>,
}

impl Setup {
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn start(self) -> Gateway {
        Gateway::start_in(Arc::new(new_home()), self)
    }

    pub fn command(&self, home: &TempDir) -> Command {
        std::fs::write(home.path().join("config.toml"), &self.config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_codex-gateway"));
        // Nothing of the developer's machine: no keys, no shell start-up files.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", home.path()).env("CODEX_HOME", home.path()).env("PORT", "0");
        command.env("RUST_LOG", "warn,codex_gateway=debug");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Core makes no helper aliases under the system's temporary folder.
pub fn new_home() -> TempDir {
    tempfile::Builder::new().prefix("home-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Keeps each line that is printed, as it comes, and shows it to `see`.
fn keep_lines(
    output: impl Read + Send + 'static,
    kept: Vec<Arc<Mutex<String>>>,
    see: impl Fn(&str) + Send + 'static,
) {
    let mut output = BufReader::new(output);
    std::thread::spawn(move || {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            see(&text);
            for kept in &kept {
                kept.lock().unwrap().push_str(&text);
            }
            line.clear();
        }
    });
}

impl Gateway {
    pub fn start() -> Self {
        Setup::default().start()
    }

    pub fn config(toml: &str) -> Setup {
        Setup::default().config(toml)
    }

    pub fn env(name: &str, value: &str) -> Setup {
        Setup::default().env(name, value)
    }

    fn start_in(home: Arc<TempDir>, setup: Setup) -> Self {
        let mut child = setup
            .command(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stdout = Arc::new(Mutex::new(String::new()));
        let (sender, address) = std::sync::mpsc::channel();
        keep_lines(
            child.stdout.take().unwrap(),
            vec![Arc::clone(&log), Arc::clone(&stdout)],
            |_| {},
        );
        keep_lines(child.stderr.take().unwrap(), vec![Arc::clone(&log)], move |line| {
            if let Some((_, rest)) = line.split_once(" on http://") {
                let _ = sender.send(rest.split_whitespace().next().unwrap().parse().unwrap());
            }
        });
        let address =
            address.recv_timeout(std::time::Duration::from_secs(60)).unwrap_or_else(|_| {
                let _ = child.kill();
                panic!("the gateway did not start:\n{}", log.lock().unwrap())
            });
        Self { address, home, child, log, stdout, setup }
    }

    /// Kills the process without a word and starts it again on the same home.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (home, setup) = (Arc::clone(&self.home), self.setup.clone());
        drop(self);
        Self::start_in(home, setup)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let status =
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself; its exit code.
    pub async fn exit_code(&mut self) -> i32 {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub fn workspaces(&self) -> PathBuf {
        self.home.path().join("workspaces")
    }

    pub async fn get(&self, path: &str) -> Reply {
        client::request(self.address, "GET", path, &[], Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_with(path, &[], body).await
    }

    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        client::request(self.address, "POST", path, &all, body.to_string().into_bytes()).await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        client::request(self.address, method, path, headers, body.to_vec()).await
    }

    /// Starts a stream and reads it line by line.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Lines {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        client::stream(self.address, "POST", path, &all, body.to_string().into_bytes()).await
    }

    pub async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        client::stream(self.address, "GET", path, headers, Vec::new()).await
    }

    /// The events of a prompt on `/exec`.
    pub async fn exec(&self, body: Value) -> Vec<Value> {
        self.stream("/exec", &[], body).await.events().await
    }

    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post("/jsonrpc", call).await.json()
    }

    /// `load` of `/health`.
    pub async fn load(&self) -> Value {
        self.get("/health").await.json()["load"].clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway ---\n{}", self.log.lock().unwrap());
        }
    }
}
