//! Views: what the commands of one folder see of the disk.
//!
//! Core's Linux sandbox hides files one by one, which needs a mount point on disk for each, and
//! shares `/tmp` and all workspaces. Here everything of the gateway's is hidden whole, and what a
//! command needs is shown again:
//!
//! - codex's home and the workspace root are empty and read-only, except for the command's own
//!   folder, skills, and the helpers of core;
//! - `/tmp`, `/var/tmp` and the gateway's `TMPDIR` are folders that only this folder's commands
//!   share.
//!
//! The gateway creates a view for each folder in use ([`live`]) and names it in the permission
//! profile of its commands, by a rule that denies the view's own files. Core hands the profile to
//! its sandbox helper, which is this binary under another name. The helper finds the rule
//! ([`invocation`]), reads the view, computes the mounts ([`mounts`]) and becomes bubblewrap
//! ([`launch`]). A command chooses none of that: the profile is the gateway's, and the view lies in
//! a folder that commands do not see.
//!
//! The gateway kills what is left in a view and removes its files ([`files`], [`placeholders`]) when
//! its last user has gone ([`remover`], [`processes`]), or, after a crash, at the next start.

mod files;
mod invocation;
mod launch;
mod live;
mod mounts;
mod placeholders;
mod processes;
mod remover;

use std::path::Path;
use std::path::PathBuf;

use codex_protocol::permissions::FileSystemSandboxEntry;
use serde::Deserialize;
use serde::Serialize;

use crate::deny_read;

pub(crate) use self::invocation::Invocation;
pub(crate) use self::launch::launch;
pub(crate) use self::live::Lease;
pub(crate) use self::live::Settings;
pub(crate) use self::live::Views;

/// The folder of all views in codex's home, in two parts. Each process has a folder in it, with a
/// folder for each view.
const VIEWS: [&str; 2] = ["gateway", "views"];
/// The file with the [`View`].
const FILE: &str = "view.json";
/// The name under which this binary is the helper inside a view, in codex's home.
pub(crate) const INNER_HELPER: &str = codex_sandboxing::landlock::CODEX_LINUX_SANDBOX_ARG0;

/// A view, as the gateway writes it and the helper reads it. All paths are absolute and resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct View {
    /// The bubblewrap program.
    bwrap: PathBuf,
    /// This binary.
    exe: PathBuf,
    /// Whether a new `/proc` can be mounted.
    mounts_proc: bool,
    /// Codex's home. It is hidden.
    home: PathBuf,
    /// The workspace root. It is hidden.
    root: PathBuf,
    /// The folder of the commands.
    folder: PathBuf,
    /// Temporary folders: the path, and the folder that is shown there.
    temporary: Vec<(PathBuf, PathBuf)>,
    /// What else is shown of codex's home, read-only: the path, and what is shown there.
    shown: Vec<(PathBuf, PathBuf)>,
}

/// The rule that names a view in a profile.
pub(crate) fn rules(folder: &Path) -> Vec<FileSystemSandboxEntry> {
    deny_read::rules(folder, deny_read::EVERYTHING)
}
