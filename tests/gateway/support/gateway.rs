//! The real binary as a process, with its own port and its own codex home.

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
use super::eventually;

/// A running gateway; killed when dropped.
pub struct Gateway {
    pub address: SocketAddr,
    pub home: Arc<TempDir>,
    pub child: Child,
    /// Everything printed on standard output and standard error.
    pub log: Arc<Mutex<String>>,
    /// Everything printed on standard output.
    pub stdout: Arc<Mutex<String>>,
    setup: Setup,
}

/// The configuration and environment of a gateway.
#[derive(Clone, Default)]
pub struct Setup {
    pub config: String,
    pub env: Vec<(String, String)>,
    /// A program that starts the gateway, with its arguments.
    pub starter: Vec<String>,
}

/// Starts a program as process 1 of a PID namespace, which ends with this one.
const PROCESS_1: [&str; 6] =
    ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];
/// The same, as a user without rights over others' processes.
const USER: [&str; 3] = ["--user", "--map-user=1000", "--map-group=1000"];

impl Setup {
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the gateway as process 1 of a PID namespace.
    pub fn process_1(mut self) -> Self {
        self.starter = PROCESS_1.map(str::to_owned).to_vec();
        self
    }

    /// Starts the gateway as process 1 of a PID namespace and as an unprivileged user.
    pub fn unprivileged_process_1(mut self) -> Self {
        self = self.process_1();
        self.starter.splice(1..1, USER.map(str::to_owned));
        self
    }

    pub fn start(self) -> Gateway {
        self.start_at(new_home())
    }

    /// Starts it on a home of the caller's.
    pub fn start_at(self, home: TempDir) -> Gateway {
        Gateway::start_in(Arc::new(home), self)
    }

    pub fn start_in(self, home: &Arc<TempDir>) -> Gateway {
        Gateway::start_in(Arc::clone(home), self)
    }

    pub fn command(&self, home: &TempDir) -> Command {
        std::fs::write(home.path().join("config.toml"), &self.config).unwrap();
        let binary = env!("CARGO_BIN_EXE_codex-gateway").to_owned();
        let line: Vec<String> = self.starter.iter().cloned().chain([binary]).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        // Isolated from the developer's machine: no keys, no shell start-up files.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", home.path()).env("CODEX_HOME", home.path()).env("PORT", "0");
        command.env("RUST_LOG", "warn,codex_gateway=debug");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Creates a codex home. Core creates no helper aliases below the system's temporary folder, so it
/// lies below the target folder.
pub fn new_home() -> TempDir {
    tempfile::Builder::new().prefix("home-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Appends each printed line to `sinks` and passes it to `inspect`, in a thread.
fn collect_lines(
    output: impl Read + Send + 'static,
    sinks: Vec<Arc<Mutex<String>>>,
    inspect: impl Fn(&str) + Send + 'static,
) {
    let mut output = BufReader::new(output);
    std::thread::spawn(move || {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            inspect(&text);
            for sink in &sinks {
                sink.lock().unwrap().push_str(&text);
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
        let child = setup
            .command(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::watch(child, home, setup)
    }

    /// Takes over a process with a piped standard error. The caller may have taken its standard
    /// output.
    pub fn spawned(child: Child, home: TempDir) -> Self {
        Self::watch(child, Arc::new(home), Setup::default())
    }

    fn watch(mut child: Child, home: Arc<TempDir>, setup: Setup) -> Self {
        let log = Arc::new(Mutex::new(String::new()));
        let stdout = Arc::new(Mutex::new(String::new()));
        let (sender, address) = std::sync::mpsc::channel();
        if let Some(output) = child.stdout.take() {
            collect_lines(output, vec![Arc::clone(&log), Arc::clone(&stdout)], |_| {});
        }
        collect_lines(child.stderr.take().unwrap(), vec![Arc::clone(&log)], move |line| {
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

    /// Kills the process with SIGKILL and starts it again on the same home.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (home, setup) = (Arc::clone(&self.home), self.setup.clone());
        drop(self);
        Self::start_in(home, setup)
    }

    /// Kills the process and starts it again on the same home, with another file.
    pub fn kill_and_restart_with(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.setup.config);
        self.kill_and_restart()
    }

    /// Kills the process and starts it again on the same home, with this added to its file.
    pub fn restart_with(mut self, toml: &str) -> Self {
        self.setup.config.push_str(toml);
        self.kill_and_restart()
    }

    /// Kills the process and starts it again on the same home, with this variable changed.
    pub fn restart_with_env(mut self, name: &str, value: &str) -> Self {
        self.setup.env.retain(|(known, _)| known != name);
        self.setup.env.push((name.to_owned(), value.to_owned()));
        self.kill_and_restart()
    }

    /// Kills the process and starts another one on the same home.
    pub fn restart_as(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self.kill_and_restart()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let status =
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself. Returns its exit code.
    /// Waits until the log holds a text: lines are written after the response. Returns the log.
    pub async fn logged(&self, text: &str) -> String {
        eventually(text, || async { self.log.lock().unwrap().contains(text) }).await;
        self.log.lock().unwrap().clone()
    }

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

    /// Posts a body and returns the response as a stream of lines.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Lines {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        client::stream(self.address, "POST", path, &all, body.to_string().into_bytes()).await
    }

    pub async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        client::stream(self.address, "GET", path, headers, Vec::new()).await
    }

    /// Runs a prompt on `/exec` and returns its events.
    pub async fn exec(&self, body: Value) -> Vec<Value> {
        self.stream("/exec", &[], body).await.events().await
    }

    /// Runs a prompt in a session on `/api/v1/exec` and returns its answer.
    pub async fn ask(&self, session: &str, prompt: &str) -> Value {
        let body = json!({ "prompt": prompt, "session_id": session });
        self.post("/api/v1/exec", body).await.json()
    }

    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        self.rpc_with(&[], method, params).await
    }

    pub async fn rpc_with(&self, headers: &[(&str, &str)], method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post_with("/jsonrpc", headers, call).await.json()
    }

    /// Asserts that the call is refused with this code, and that the detail of the error holds the
    /// expected words.
    pub async fn assert_rpc_error(&self, method: &str, params: Value, code: i32, expected: &str) {
        let answer = self.rpc(method, params.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
        let detail = answer["error"]["data"]["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{method} {params}: {detail}");
    }

    /// Returns `load` of `/health`.
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
