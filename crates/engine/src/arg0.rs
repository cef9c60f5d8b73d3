//! The start of `main`.
//!
//! Core re-executes its own binary under other names: as the Linux sandbox, as `apply_patch`, as
//! the file-system helper. The gateway does the same for the inner end of a terminal. [`run`]
//! dispatches such invocations before anything else. It also loads `$CODEX_HOME/.env` and builds
//! the runtime with the stack size that core needs.

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
use crate::deny_read;
use crate::stray_files;
#[cfg(target_os = "linux")]
use crate::view;

/// Paths of this process's helpers.
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
/// Any error of `main`; the runtime cannot be built; a helper's arguments are invalid.
pub fn run<F, Fut>(main: F) -> anyhow::Result<()>
where
    F: FnOnce(HelperPaths) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if crate::children::run_keeper() {
        return Ok(());
    }
    crate::children::enter()?;
    if let Some(program) = crate::terminal::inner_program() {
        return Err(crate::terminal::exec_inner(&program));
    }
    #[cfg(target_os = "linux")]
    enter_sandbox(std::env::args_os().collect())?;
    // Before the dispatch, which creates core's helper aliases in this folder. Loading the
    // configuration reports a failure again, with a better message.
    let home = codex_home();
    codex_arg0::arg0_dispatch_or_else(move |paths| {
        // Before anything reads them.
        if let Ok(home) = &home {
            stray_files::remove(home);
        }
        // A command without a sandbox runs as the gateway's own user. This keeps it from reading
        // keys in the gateway's environment and memory. Helpers do not get here.
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

/// If this process is core's sandbox helper, gives the command its view, or has core set up the
/// sandbox with all files that it is to hide.
#[cfg(target_os = "linux")]
fn enter_sandbox(arguments: Vec<OsString>) -> anyhow::Result<()> {
    if let Some(invocation) = view::Invocation::read(&arguments)? {
        return Err(view::launch(invocation));
    }
    match deny_read::helper_arguments(arguments)? {
        Some(arguments) => Err(re_execute(arguments)),
        None => Ok(()),
    }
}

/// Replaces this process with a new run of this binary; the first argument is its name. Returns
/// only on failure.
#[cfg(target_os = "linux")]
fn re_execute(arguments: Vec<OsString>) -> anyhow::Error {
    let mut arguments = arguments.into_iter();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(arguments.next().unwrap_or_default()).args(arguments);
    anyhow!("cannot start core's sandbox helper: {}", command.exec())
}

/// Codex's home: `CODEX_HOME`, else `~/.codex`.
///
/// # Errors
/// `CODEX_HOME` is not a folder, or there is no home folder.
pub fn codex_home() -> std::io::Result<PathBuf> {
    // Core requires the folder in CODEX_HOME to exist; a fresh container has none yet.
    if let Some(home) = std::env::var_os("CODEX_HOME").filter(|home| !home.is_empty()) {
        std::fs::create_dir_all(home)?;
    }
    codex_core::config::find_codex_home().map(|home| home.to_path_buf())
}
