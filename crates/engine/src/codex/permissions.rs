//! What commands of a conversation may touch.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use codex_protocol::models::PermissionProfile;
use codex_protocol::models::SandboxEnforcement;
use codex_protocol::permissions::FileSystemAccessMode;
use codex_protocol::permissions::FileSystemPath;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_protocol::permissions::FileSystemSandboxPolicy;
use codex_protocol::permissions::NetworkSandboxPolicy;
use codex_protocol::protocol::SandboxPolicy;
use codex_utils_absolute_path::AbsolutePathBuf;

use crate::Sandbox;
use crate::sandbox::Tools;

/// What in codex's home is nobody's to read: keys and logins, and other conversations.
const SECRETS: [&str; 9] = [
    "auth.json",
    "config.toml",
    ".env",
    ".credentials.json",
    "history.jsonl",
    "sessions",
    "archived_sessions",
    "gateway",
    "log",
];

/// Each of them once: core resolves every path of a policy on disk, several times a turn.
pub(super) fn secrets(codex_home: &Path, config_path: Option<&Path>) -> Arc<[PathBuf]> {
    let elsewhere = config_path.filter(|path| *path != codex_home.join("config.toml"));
    SECRETS.iter().map(|name| codex_home.join(name)).chain(elsewhere.map(Path::to_owned)).collect()
}

/// What decides over the permissions of a conversation's commands.
#[derive(Debug, Clone)]
pub(super) struct Permissions {
    pub(super) cwd: PathBuf,
    pub(super) tools: Tools,
    pub(super) secrets: Arc<[PathBuf]>,
}

impl Permissions {
    /// Where no sandbox works and the operator said to go on without, asking core for one would only
    /// make every command fail.
    pub(super) fn profile(&self, sandbox: Sandbox) -> PermissionProfile {
        let policy = match (self.tools, sandbox) {
            (Tools::Unsandboxed, _) | (_, Sandbox::DangerFullAccess) => {
                return PermissionProfile::Disabled;
            }
            (Tools::On | Tools::Off, Sandbox::ReadOnly) => {
                SandboxPolicy::ReadOnly { network_access: false }
            }
            (Tools::On | Tools::Off, Sandbox::WorkspaceWrite) => SandboxPolicy::WorkspaceWrite {
                writable_roots: Vec::new(),
                network_access: false,
                exclude_tmpdir_env_var: false,
                exclude_slash_tmp: false,
            },
        };
        let mut files =
            FileSystemSandboxPolicy::from_legacy_sandbox_policy_for_cwd(&policy, &self.cwd);
        files.entries.extend(self.secrets.iter().filter_map(|path| denied(path)));
        PermissionProfile::from_runtime_permissions_with_enforcement(
            SandboxEnforcement::from_legacy_sandbox_policy(&policy),
            &files,
            NetworkSandboxPolicy::from(&policy),
        )
    }
}

fn denied(path: &Path) -> Option<FileSystemSandboxEntry> {
    let path = FileSystemPath::Path { path: AbsolutePathBuf::from_absolute_path(path).ok()? };
    // What is not there cannot be hidden, and need not be.
    Some(FileSystemSandboxEntry::skip_missing_path(path, FileSystemAccessMode::Deny))
}
