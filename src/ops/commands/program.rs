//! The program of a command, its arguments and its environment.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::Command;
use codex_gateway_engine::Sandbox;

use crate::error::Error;
use crate::text::excerpt;

/// The environment of a command in addition to the request's. HOME is its folder.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LANG: &str = "C.UTF-8";

/// The most folders of `PATH` that are looked into.
const MAX_FOLDERS: usize = 256;

/// A program to run, or a line for a shell.
pub(super) struct Program {
    pub(super) command: String,
    pub(super) args: Vec<String>,
    pub(super) shell: bool,
    /// Variables in addition to PATH, HOME and LANG.
    pub(super) env: BTreeMap<String, String>,
}

/// Builds the command that the engine runs. Blocks: it looks for the program on disk.
pub(super) fn command(program: Program, cwd: &Path, sandbox: Sandbox) -> Result<Command, Error> {
    let home = cwd.display().to_string();
    let mut env: BTreeMap<String, String> =
        [("PATH", PATH), ("HOME", home.as_str()), ("LANG", LANG)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    env.extend(program.env);
    let argv: Vec<String> = if program.shell {
        ["/bin/sh", "-c", program.command.as_str(), "sh"].map(str::to_owned).into()
    } else {
        let path = env.get("PATH").map_or("", String::as_str);
        let found = find(&program.command, path, cwd).ok_or_else(|| {
            Error::invalid(format!(
                "command: expected a program on PATH ({path}), got {}; a line for a shell needs \
                 \"shell\": true",
                excerpt(&program.command)
            ))
        })?;
        vec![found]
    };
    let argv = argv.into_iter().chain(program.args).collect();
    Ok(Command { argv, cwd: cwd.to_owned(), env, sandbox, until_gone: None })
}

/// Resolves a program as a shell does: a path from the folder, or the first of its name on `PATH`.
fn find(program: &str, path: &str, cwd: &Path) -> Option<String> {
    let is_program = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = if program.contains('/') {
        Some(cwd.join(program)).filter(is_program)
    } else {
        let folders = std::env::split_paths(path).take(MAX_FOLDERS);
        folders.map(|folder| cwd.join(folder).join(program)).find(is_program)
    };
    found.map(|found| found.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_found_as_a_shell_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("bin/tool");
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(&script, "").unwrap();
        let found = |program| find(program, "bin:/usr/bin:/bin", dir.path());
        assert_eq!(found("tool"), None, "it cannot be executed");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(found("tool"), Some(script.display().to_string()));
        assert_eq!(found("bin/tool"), found("tool"));
        assert_eq!(found("./tool"), None);
        assert_eq!(found("bin"), None);
        assert!(found("sh").unwrap().ends_with("/sh"));
        assert_eq!(found("echo hi"), None);
        let long = "none:".repeat(MAX_FOLDERS);
        assert_eq!(find("sh", &format!("{long}/bin"), dir.path()), None);
        assert!(find("sh", &format!("{}:/bin", &long[5..long.len() - 1]), dir.path()).is_some());
    }
}
