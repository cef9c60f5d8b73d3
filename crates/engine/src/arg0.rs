//! How `main` must start.
//!
//! Core re-executes its own binary under other names: as the Linux sandbox, as `apply_patch`, as
//! the file-system helper; the gateway does so too, as the inner end of a terminal. [`run`] hands
//! such calls over before anything else happens; it also loads `$CODEX_HOME/.env` and builds the runtime, with stacks of the size that core needs.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::future::Future;
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::process::Command;

#[cfg(target_os = "linux")]
use anyhow::anyhow;

#[cfg(target_os = "linux")]
use crate::denied;

/// Where the helpers of this process are.
#[derive(Debug, Clone, Default)]
pub struct HelperPaths {
    /// This binary.
    pub self_exe: Option<PathBuf>,
    /// The alias under which this binary is the Linux sandbox.
    pub linux_sandbox_exe: Option<PathBuf>,
    /// The alias under which this binary wraps `execve`.
    pub execve_wrapper_exe: Option<PathBuf>,
}

/// Runs `main`, unless this process was started as one of core's helpers.
///
/// # Errors
/// What `main` returns, or that the runtime could not be built.
pub fn run<F, Fut>(main: F) -> anyhow::Result<()>
where
    F: FnOnce(HelperPaths) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if let Some(program) = crate::terminal::inner_program() {
        return Err(crate::terminal::take_over(&program));
    }
    #[cfg(target_os = "linux")]
    if let Some(arguments) = denied::for_the_helper(std::env::args_os().collect())? {
        return Err(start_over(arguments));
    }
    // Before the dispatch, which puts core's helper aliases there. A failure comes up again, with a
    // better message, when the configuration is loaded.
    let _ = codex_home();
    codex_arg0::arg0_dispatch_or_else(|paths| {
        // A command that runs without a sandbox has the gateway's own user: this keeps it from reading
        // the keys out of the gateway's environment and memory. Helpers never come here.
        #[cfg(target_os = "linux")]
        if let Err(error) = codex_process_hardening::disable_process_dumping() {
            tracing::warn!(%error, "commands without a sandbox could read the gateway's environment");
        }
        main(HelperPaths {
            self_exe: paths.codex_self_exe,
            linux_sandbox_exe: paths.codex_linux_sandbox_exe,
            execve_wrapper_exe: paths.main_execve_wrapper_exe,
        })
    })
}

/// Starts this binary anew in this process, with these arguments, the first of them its name. Returns
/// why not.
#[cfg(target_os = "linux")]
fn start_over(arguments: Vec<OsString>) -> anyhow::Error {
    let mut arguments = arguments.into_iter();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(arguments.next().unwrap_or_default()).args(arguments);
    anyhow!("cannot start core's sandbox helper: {}", command.exec())
}

/// The folder that codex calls its home: `CODEX_HOME`, else `~/.codex`.
///
/// # Errors
/// `CODEX_HOME` names something that is not a folder, or there is no home folder.
pub fn codex_home() -> std::io::Result<PathBuf> {
    // Core wants the folder that CODEX_HOME names to exist; a fresh container has none yet.
    if let Some(home) = std::env::var_os("CODEX_HOME").filter(|home| !home.is_empty()) {
        std::fs::create_dir_all(home)?;
    }
    codex_core::config::find_codex_home().map(|home| home.to_path_buf())
}
