//! What commands of a conversation may touch.

use std::path::Path;
use std::sync::Arc;

use codex_core::config::Config;
use codex_protocol::models::PermissionProfile;
use codex_protocol::models::SandboxEnforcement;
use codex_protocol::permissions::FileSystemPath;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_protocol::permissions::FileSystemSandboxPolicy;
use codex_protocol::permissions::FileSystemSpecialPath;
use codex_protocol::permissions::NetworkSandboxPolicy;
use codex_protocol::protocol::SandboxPolicy;
use codex_utils_absolute_path::AbsolutePathBuf;

use crate::Sandbox;
use crate::denied;
use crate::denied::EVERYTHING;
use crate::sandbox::Tools;

/// What in codex's home is nobody's to read: keys and logins, and other conversations, of which the
/// databases hold the first words.
const SECRETS: [&str; 11] = [
    "auth.json",
    "config.toml",
    ".env",
    ".credentials.json",
    "history.jsonl",
    "session_index.jsonl",
    "sessions/",
    "archived_sessions/",
    "gateway/",
    "log/",
    DATABASES,
];

/// Core's databases, with their journals.
const DATABASES: &str = "*.sqlite*";

/// What commands may not read.
pub(super) fn secrets(
    config: &Config,
    config_path: Option<&Path>,
) -> Arc<[FileSystemSandboxEntry]> {
    let home = config.codex_home.as_path();
    let mut denied: Vec<_> = SECRETS.iter().flat_map(|name| denied::entries(home, name)).collect();
    if config.sqlite_home != home {
        denied.extend(denied::entries(&config.sqlite_home, DATABASES));
    }
    if config.log_dir != home.join("log") {
        denied.extend(denied::entries(&config.log_dir, EVERYTHING));
    }
    let elsewhere = config_path.filter(|path| *path != home.join("config.toml"));
    denied.extend(elsewhere.into_iter().flat_map(denied::entry));
    denied.into()
}

/// What decides over the permissions of a conversation's commands.
#[derive(Debug, Clone)]
pub(super) struct Permissions {
    pub(super) tools: Tools,
    pub(super) secrets: Arc<[FileSystemSandboxEntry]>,
}

impl Permissions {
    /// What a command of the gateway's own is started with: its files are found here, and core's helper
    /// need not start over to find them.
    pub(super) fn command_profile(&self, sandbox: Sandbox) -> PermissionProfile {
        let mut profile = self.profile(sandbox);
        denied::hide(&mut profile);
        profile
    }

    /// What core is told of a conversation.
    ///
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
                // By its path: by its name core asks again and again whether there is one.
                writable_roots: AbsolutePathBuf::from_absolute_path("/tmp").into_iter().collect(),
                network_access: false,
                exclude_tmpdir_env_var: false,
                exclude_slash_tmp: true,
            },
        };
        let mut files = FileSystemSandboxPolicy::from(&policy);
        // Core protects `.git`, `.agents` and `.codex` of a folder in which commands write by their names;
        // entries that say so once more only have core look them up on disk several times a turn.
        files.entries.retain(|entry| !is_inside_the_folder(&entry.path));
        files.entries.extend_from_slice(&self.secrets);
        PermissionProfile::from_runtime_permissions_with_enforcement(
            SandboxEnforcement::from_legacy_sandbox_policy(&policy),
            &files,
            NetworkSandboxPolicy::from(&policy),
        )
    }
}

fn is_inside_the_folder(path: &FileSystemPath) -> bool {
    matches!(
        path,
        FileSystemPath::Special { value: FileSystemSpecialPath::ProjectRoots { subpath: Some(_) } }
    )
}
