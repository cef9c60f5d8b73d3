//! The process of a probed tool server, and all processes that it started.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use codex_utils_pty::process_group::kill_process_group;
use codex_utils_pty::process_group::terminate_process_group;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::io::DuplexStream;
use tokio::process::Child;
use tokio::process::ChildStderr;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;

use super::excerpt::excerpt;
use crate::mcp::McpServer;
use crate::mcp::McpTransport;

/// The gateway's variables that the process inherits, the same as from core.
const INHERITED: [&str; 10] =
    ["HOME", "LOGNAME", "PATH", "SHELL", "USER", "LANG", "LC_ALL", "TERM", "TMPDIR", "TZ"];
/// Time to exit after its input is closed, and again after `SIGTERM`.
const GRACE: Duration = Duration::from_millis(500);
/// How long output is read after the exit: a child of the process may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(200);
/// Longest line that is read as one, in bytes.
const MAX_LINE: u64 = 8 << 20;

/// The process of a tool server. Dropping it kills its process group.
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The first line of output that is not a JSON object.
    non_mcp_line: Option<String>,
    group: Group,
}

/// The process group, killed on drop.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        // Fails if no process is left.
        let _ = self.0.map(kill_process_group);
    }
}

impl Process {
    pub(super) fn start(server: &McpServer, cwd: &Path) -> io::Result<Self> {
        let McpTransport::Stdio { command, args, env } = &server.transport else {
            return Err(io::Error::other("its transport is not a process"));
        };
        let inherited =
            INHERITED.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
        let mut child = Command::new(command)
            .args(args)
            .env_clear()
            .envs(inherited)
            .envs(env)
            .current_dir(cwd)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            non_mcp_line: None,
            group: Group(child.id()),
            child,
        })
    }

    /// Relays between the client and the process until the process exits. Returns how it exited.
    pub(super) async fn relay(&mut self, client: DuplexStream) -> String {
        let Self { child, stdin, stdout, stderr, non_mcp_line, .. } = self;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let input = async {
            if let Some(stdin) = stdin.as_mut() {
                // Fails if the process does not read; then it exits or times out, reported
                // elsewhere.
                let _ = tokio::io::copy(&mut from_client, stdin).await;
            }
            std::future::pending::<()>().await;
        };
        let output = async {
            let Some(stdout) = stdout.as_mut() else { return };
            let mut lines = Lines::new(stdout);
            while let Some(line) = lines.next().await {
                if !line.trim_ascii_start().starts_with(b"{") && !line.trim_ascii().is_empty() {
                    non_mcp_line.get_or_insert_with(|| String::from_utf8_lossy(line).into_owned());
                }
                if to_client.write_all(line).await.is_err() {
                    return;
                }
            }
        };
        let mut last_error_line = Vec::new();
        let errors = async {
            let Some(stderr) = stderr.as_mut() else { return };
            let mut lines = Lines::new(stderr);
            while let Some(line) = lines.next().await {
                if !line.trim_ascii().is_empty() {
                    last_error_line.clear();
                    last_error_line.extend_from_slice(line);
                }
            }
        };
        let status = {
            let mut both = std::pin::pin!(async { tokio::join!(output, errors) });
            tokio::select! {
                status = child.wait() => {
                    let _ = tokio::time::timeout(DRAIN, both).await;
                    status
                }
                () = input => return "was lost".to_owned(),
                _ = &mut both => child.wait().await,
            }
        };
        let last_error = match excerpt(&String::from_utf8_lossy(&last_error_line)) {
            empty if empty.is_empty() => empty,
            line => format!("; its last error output: {line}"),
        };
        format!("{} before its tools were listed{last_error}", describe_exit(status))
    }

    /// Takes the first line of output that is not a JSON object.
    pub(super) fn take_non_mcp_line(&mut self) -> Option<String> {
        self.non_mcp_line.take()
    }

    /// Ends the process: closes its input, sends `SIGTERM`, then kills its process group.
    pub(super) async fn end(self) {
        let Self { mut child, stdin, group, .. } = self;
        drop(stdin);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            let _ = group.0.map(terminate_process_group);
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
        }
        drop(group);
    }
}

/// Lines of a pipe, with their line feeds, in pieces of at most [`MAX_LINE`].
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new() }
    }

    /// The next line; `None` at the end or on an error.
    async fn next(&mut self) -> Option<&[u8]> {
        self.line.clear();
        let read = (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut self.line).await;
        read.is_ok_and(|length| length > 0).then_some(self.line.as_slice())
    }
}

fn describe_exit(status: io::Result<ExitStatus>) -> String {
    let status = match status {
        Ok(status) => status,
        Err(error) => return format!("was lost ({error})"),
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
