//! Optional programs and packages. A test that lacks one is skipped with a message, or fails if
//! `GATEWAY_REQUIRE_SERVICES` is 1.

use std::path::Path;
use std::path::PathBuf;

use tokio::process::Command;

/// Reports that something is not installed.
pub fn report_missing(hint: &str) {
    let required = std::env::var_os("GATEWAY_REQUIRE_SERVICES").is_some_and(|set| set == "1");
    assert!(!required, "{hint}");
    eprintln!("SKIPPED: {hint}");
}

/// Returns the Python venv with the packages of the tests.
pub fn python_venv() -> PathBuf {
    folder("GATEWAY_SDK_VENV", "sdk-venv")
}

/// Returns the Python venv of LiteLLM, whose packages do not go together with those of the tests.
pub fn litellm_venv() -> PathBuf {
    folder("GATEWAY_LITELLM_VENV", "litellm-venv")
}

/// Returns the `node_modules` with the packages of the tests.
pub fn node_modules() -> PathBuf {
    folder("GATEWAY_NODE_MODULES", "node_modules")
}

/// Returns a command without the developer's keys and proxies.
pub fn clean_command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).kill_on_drop(true);
    command
}

/// Returns a command that runs Node.js with the packages of the tests.
pub fn node() -> Command {
    let mut command = clean_command("node");
    command.env("NODE_PATH", node_modules());
    command
}

/// Returns the path of a file below `tests/gateway`.
pub fn test_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway").join(path)
}

fn folder(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(default),
        PathBuf::from,
    )
}
