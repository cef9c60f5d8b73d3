//! Installs the peers from npm, in pinned versions, below cargo's target folder. A missing peer is
//! skipped with a message.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::paths;

/// `@openai/codex`
pub(crate) const CODEX: &str = "0.169.0";
/// `opencode-ai`
pub(crate) const OPENCODE: &str = "1.18.33";

/// The paths of the native programs, not of the Node scripts that npm wraps around them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Peers {
    pub(crate) codex: Option<PathBuf>,
    pub(crate) opencode: Option<PathBuf>,
}

/// One folder per peer: npm removes packages that a later call does not name.
fn folder(peer: &str) -> anyhow::Result<PathBuf> {
    Ok(paths::target_folder()?.join("peers").join(peer))
}

/// Installs missing peers.
///
/// # Errors
/// If the target folder is unknown.
pub(crate) fn install() -> anyhow::Result<()> {
    let peers = find()?;
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
            .arg(folder(peer)?)
            .arg(&package)
            .status();
        match installed {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("SKIPPED: npm could not install {package}: {status}"),
            Err(error) => eprintln!("SKIPPED: {package}: npm does not start: {error}"),
        }
    }
    Ok(())
}

/// Finds the installed peers that run here in the pinned version.
///
/// # Errors
/// If the target folder is unknown.
pub(crate) fn find() -> anyhow::Result<Peers> {
    let (codex_folder, opencode_folder) = (folder("codex")?, folder("opencode")?);
    let codex = || {
        let platforms = codex_folder.join("node_modules/@openai");
        let packages = std::fs::read_dir(platforms).ok()?.filter_map(Result::ok);
        let vendors = packages.map(|package| package.path().join("vendor"));
        let triples = vendors.filter_map(|vendor| std::fs::read_dir(vendor).ok()).flatten();
        let mut programs =
            triples.filter_map(Result::ok).map(|triple| triple.path().join("bin/codex"));
        programs.find(|program| has_version(program, CODEX))
    };
    let opencode = || {
        let packages = std::fs::read_dir(opencode_folder.join("node_modules")).ok()?;
        let mut programs: Vec<PathBuf> = packages
            .filter_map(Result::ok)
            .map(|package| package.path().join("bin/opencode"))
            .filter(|program| program.is_file())
            .collect();
        // Sorts the build for this processor before the `baseline` build.
        programs.sort();
        programs.into_iter().find(|program| has_version(program, OPENCODE))
    };
    Ok(Peers { codex: codex(), opencode: opencode() })
}

fn has_version(program: &Path, version: &str) -> bool {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).trim().ends_with(version) && output.status.success()
    })
}
