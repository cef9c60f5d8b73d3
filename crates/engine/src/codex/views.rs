//! The views of commands, for the options of the engine.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;

use super::Options;
use crate::view::INNER_HELPER;
use crate::view::Settings;
use crate::view::Views;

/// Opens the views of this process. `None` without bubblewrap: then no sandbox works at all.
///
/// # Errors
/// Codex's home cannot be written.
pub(super) fn open(options: &Options) -> anyhow::Result<Option<Views>> {
    let exe = options.helpers.self_exe.clone().map_or_else(std::env::current_exe, Ok)?;
    let Some(bwrap) = codex_sandboxing::find_system_bwrap_in_path().or_else(|| bundled(&exe))
    else {
        return Ok(None);
    };
    let alias = options.helpers.linux_sandbox_exe.as_deref();
    let alias = alias.filter(|path| path.file_name().is_some_and(|name| name == INNER_HELPER));
    let settings = Settings {
        codex_home: options.codex_home.clone(),
        workspace_root: options.workspace_root.clone(),
        exe,
        aliases: alias.and_then(Path::parent).map(Path::to_owned),
        bwrap,
    };
    Ok(Some(Views::open(settings).context("cannot write to codex's home")?))
}

/// The bubblewrap that was installed with this binary.
fn bundled(exe: &Path) -> Option<PathBuf> {
    let beside = exe.ancestors().skip(1).take(2);
    beside.map(|folder| folder.join("codex-resources/bwrap")).find(|path| path.is_file())
}
