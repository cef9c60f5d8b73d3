//! The programs to compare with, from npm, exactly these versions, in a folder below cargo's target
//! folder. One that is not there is skipped, loudly.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// `@openai/codex`
pub(crate) const CODEX: &str = "0.169.0";
/// `opencode-ai`
pub(crate) const OPENCODE: &str = "1.18.33";

/// Where they are: the programs themselves, not the Node scripts that npm puts before them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Peers {
    pub(crate) codex: Option<PathBuf>,
    pub(crate) opencode: Option<PathBuf>,
}

/// Each in a folder of its own: npm takes away what a second call does not name.
fn folder(peer: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    target.parent().unwrap_or(target).join("peers").join(peer)
}

/// Installs what is missing.
pub(crate) fn install() {
    let peers = find();
    for (found, peer, package) in [
        (peers.codex, "codex", format!("@openai/codex@{CODEX}")),
        (peers.opencode, "opencode", format!("opencode-ai@{OPENCODE}")),
    ] {
        if found.is_some() {
            continue;
        }
        eprintln!("installing {package}");
        let installed = Command::new("npm")
            .args(["install", "--no-fund", "--no-audit", "--no-save", "--ignore-scripts"])
            .arg("--prefix")
            .arg(folder(peer))
            .arg(&package)
            .status();
        match installed {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("SKIPPED: npm could not install {package}: {status}"),
            Err(error) => eprintln!("SKIPPED: {package}: npm does not start: {error}"),
        }
    }
}

/// What is installed, in the right version, and runs here.
pub(crate) fn find() -> Peers {
    let codex = || {
        let platforms = folder("codex").join("node_modules/@openai");
        let packages = std::fs::read_dir(platforms).ok()?.filter_map(Result::ok);
        let vendors = packages.map(|package| package.path().join("vendor"));
        let triples = vendors.filter_map(|vendor| std::fs::read_dir(vendor).ok()).flatten();
        let mut programs =
            triples.filter_map(Result::ok).map(|triple| triple.path().join("bin/codex"));
        programs.find(|program| is(program, CODEX))
    };
    let opencode = || {
        let packages = std::fs::read_dir(folder("opencode").join("node_modules")).ok()?;
        let mut programs: Vec<PathBuf> = packages
            .filter_map(Result::ok)
            .map(|package| package.path().join("bin/opencode"))
            .filter(|program| program.is_file())
            .collect();
        // The one for this processor before the `baseline` one.
        programs.sort();
        programs.into_iter().find(|program| is(program, OPENCODE))
    };
    Peers { codex: codex(), opencode: opencode() }
}

fn is(program: &Path, version: &str) -> bool {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).trim().ends_with(version) && output.status.success()
    })
}
