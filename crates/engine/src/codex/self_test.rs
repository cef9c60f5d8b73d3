//! The sandbox self-test: finds out what confines tool calls by running one.

use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;

use codex_core::exec::process_exec_tool_call;
use codex_protocol::models::PermissionProfile;
use codex_protocol::permissions::NetworkSandboxPolicy;
use codex_utils_absolute_path::AbsolutePathBuf;
use tokio::net::TcpListener;

use super::permissions::Permissions;
use crate::BoxFuture;
use crate::Sandbox;
use crate::sandbox;
use crate::sandbox::FIX;
use crate::sandbox::Mechanism;
use crate::sandbox::Report;
use crate::sandbox::Tools;
#[cfg(target_os = "linux")]
use crate::view::Views;

/// Time limit of a run, in milliseconds.
const LIMIT_MS: u64 = 10_000;

/// A command in core's sandbox that writes inside its folder and tries what it must not.
pub(super) struct Probe<'a> {
    pub(super) workspace_root: &'a Path,
    pub(super) linux_sandbox_exe: Option<PathBuf>,
    #[cfg(target_os = "linux")]
    pub(super) views: Option<&'a Views>,
}

/// What the commands are kept from, beyond writing and the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Confinement {
    /// Whether they have a view.
    has_view: bool,
    /// Whether they see only their own processes.
    has_own_proc: bool,
}

impl Probe<'_> {
    /// Runs the command, and says what the agent may do. `allow_no_sandbox`: the operator allows to
    /// run commands unconfined.
    pub(super) fn run(&self, allow_no_sandbox: bool) -> BoxFuture<'_, Report> {
        Box::pin(async move {
            match self.confinement().await {
                Ok(confinement) => Report {
                    mechanism: if cfg!(target_os = "macos") {
                        Mechanism::Seatbelt
                    } else {
                        Mechanism::Bubblewrap
                    },
                    tools: Tools::On,
                    detail: confinement.detail().to_owned(),
                    fix: None,
                },
                Err(reason) if allow_no_sandbox => Report {
                    mechanism: Mechanism::None,
                    tools: Tools::Unsandboxed,
                    detail: format!(
                        "no sandbox works ({reason}); CODEX_UNSAFE_ALLOW_NO_SANDBOX is set, so \
                         commands run with the gateway's own rights"
                    ),
                    fix: Some(FIX),
                },
                Err(reason) => Report {
                    mechanism: Mechanism::None,
                    tools: Tools::Off,
                    detail: format!(
                        "no sandbox works ({reason}), so the agent gets no tool that runs commands \
                         or writes files"
                    ),
                    fix: Some(FIX),
                },
            }
        })
    }

    /// Runs the command and checks its effects.
    async fn confinement(&self) -> Result<Confinement, String> {
        #[cfg(target_os = "linux")]
        if let Some(views) = self.views {
            return match self.attempt().await {
                // Containers often have a `/proc` with hidden parts, beside which the kernel mounts
                // no whole one.
                Err(reason) if reason.contains("mount proc") => {
                    views.mount_no_proc();
                    self.attempt().await
                }
                result => result,
            };
        }
        self.attempt().await
    }

    async fn attempt(&self) -> Result<Confinement, String> {
        let text = |error: std::io::Error| error.to_string();
        let id = uuid::Uuid::new_v4();
        let scratch = self.workspace_root.join(format!(".sandbox-probe-{id}"));
        let inside = scratch.join("inside");
        let temporary = PathBuf::from(format!("/tmp/.sandbox-probe-{id}"));
        std::fs::create_dir_all(&inside).map_err(text)?;
        let _removed = RemoveOnDrop(&scratch);
        std::fs::write(scratch.join("other"), "other").map_err(text)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(text)?;
        let port = listener.local_addr().map_err(text)?.port();
        let permissions = self.permissions(&inside)?;
        let ran = tokio::select! {
            ran = self.run_script(&inside, script(port, &temporary), &permissions) => ran,
            _ = listener.accept() => Err("a command could reach the network".to_owned()),
        };
        let has_view = permissions.has_view();
        let wrote = |path: PathBuf| path.exists();
        ran?;
        match (wrote(inside.join("probe")), wrote(scratch.join("outside"))) {
            (true, false) => {}
            (false, _) => return Err("a command could not write inside its own folder".to_owned()),
            (true, true) => return Err("a command could write outside its folder".to_owned()),
        }
        if has_view && wrote(inside.join("seen")) {
            return Err("a command could read outside its folder".to_owned());
        }
        if has_view && (wrote(temporary) || !wrote(inside.join("temporary"))) {
            return Err("a command had no temporary folder of its own".to_owned());
        }
        Ok(Confinement { has_view, has_own_proc: wrote(inside.join("alone")) })
    }

    /// The permissions of the command.
    fn permissions(&self, folder: &Path) -> Result<Permissions, String> {
        #[cfg(target_os = "linux")]
        let view = self.views.map(|views| views.lease(folder, None).map(Into::into)).transpose();
        Ok(Permissions {
            tools: Tools::On,
            secrets: [].into(),
            #[cfg(target_os = "linux")]
            view: view.map_err(|error| error.to_string())?,
            until_gone: None,
        })
    }

    async fn run_script(
        &self,
        cwd: &Path,
        script: String,
        permissions: &Permissions,
    ) -> Result<(), String> {
        let cwd = AbsolutePathBuf::from_absolute_path(cwd).map_err(|error| error.to_string())?;
        let roots = [cwd.clone()];
        let profile = if permissions.has_view() {
            permissions.profile(Sandbox::WorkspaceWrite)
        } else {
            // Temporary folders are not writable here: the workspace may lie in one.
            let network = NetworkSandboxPolicy::Restricted;
            PermissionProfile::workspace_write_with(&roots, network, true, true)
        };
        let params = sandbox::exec_params(
            ["/bin/sh".to_owned(), "-c".to_owned(), script].to_vec(),
            &cwd,
            std::env::vars().filter(|(name, _)| name == "PATH").collect(),
            LIMIT_MS.into(),
        );
        let output = Box::pin(process_exec_tool_call(
            params,
            &profile,
            &cwd,
            &roots,
            &self.linux_sandbox_exe,
            false,
            None,
        ))
        .await
        .map_err(|error| first_line(&error.to_string()))?;
        match output.exit_code {
            0 => Ok(()),
            code => {
                Err(format!("exit code {code}: {}", first_line(&output.aggregated_output.text)))
            }
        }
    }
}

impl Confinement {
    fn detail(self) -> &'static str {
        match (self.has_view, self.has_own_proc) {
            (true, true) => {
                "commands write only in their folder and a temporary folder of its own, see no other \
                 workspace, and have no network"
            }
            (true, false) => {
                "commands write only in their folder and a temporary folder of its own, and have no \
                 network; they see the processes of this machine or container, and through those \
                 other workspaces, because /proc cannot be mounted again (Docker: run with \
                 `--security-opt systempaths=unconfined`)"
            }
            (false, _) => {
                "commands write only in their folder and the temporary folder, and have no network"
            }
        }
    }
}

/// A folder that is removed on drop.
struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

/// A script that writes inside its folder, tries to write and read outside, and to connect to a
/// port of the gateway (with bash, which can open sockets). It notes whether its `/tmp` works, and
/// whether the first process that it sees is that of its sandbox.
fn script(port: u16, temporary: &Path) -> String {
    let temporary = temporary.display();
    format!(
        "echo probe > probe; {{ echo probe > ../outside; }} 2>/dev/null; \
         {{ cat ../other > read && test -s read && touch seen; }} 2>/dev/null; \
         {{ echo x > {temporary} && touch temporary; }} 2>/dev/null; \
         {{ grep -q bwrap /proc/1/comm && touch alone; }} 2>/dev/null; \
         {{ bash --norc -c 'echo > /dev/tcp/127.0.0.1/{port}'; }} 2>/dev/null; test -e probe"
    )
}

/// The message of a helper's panic: one line of a page of backtrace.
fn first_line(text: &str) -> String {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("thread "))
        .unwrap_or("no output");
    line.chars().take(200).collect()
}
