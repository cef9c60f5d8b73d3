//! The folders of the workspace and of this build.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;

/// The package of this program.
pub(crate) fn package_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn workspace_root() -> PathBuf {
    package_root().join("../..")
}

/// The folder of this program: `target/<profile>`.
///
/// # Errors
/// If the path of this program is unknown.
pub(crate) fn build_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("expected this program in a folder")?.to_owned())
}

/// Cargo's target folder.
///
/// # Errors
/// If the path of this program is unknown.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    let folder = build_folder()?;
    Ok(folder.parent().context("expected this program in target/<profile>")?.to_owned())
}

/// The folder for temporary files, below cargo's target folder.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn scratch() -> anyhow::Result<PathBuf> {
    let folder = target_folder()?.join("tmp");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
