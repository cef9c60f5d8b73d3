//! Access of a conversation's commands.

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
use crate::deny_read;
use crate::deny_read::EVERYTHING;
use crate::sandbox::Tools;

/// Files in codex's home that no command can read: keys, logins and other conversations. The
/// databases hold the first message of each.
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

/// Deny-read rules for commands.
pub(super) fn secrets(
    config: &Config,
    config_path: Option<&Path>,
) -> Arc<[FileSystemSandboxEntry]> {
    let home = config.codex_home.as_path();
    let mut denied: Vec<_> = SECRETS.iter().flat_map(|name| deny_read::rules(home, name)).collect();
    if config.sqlite_home != home {
        denied.extend(deny_read::rules(&config.sqlite_home, DATABASES));
    }
    if config.log_dir != home.join("log") {
        denied.extend(deny_read::rules(&config.log_dir, EVERYTHING));
    }
    let elsewhere = config_path.filter(|path| *path != home.join("config.toml"));
    denied.extend(elsewhere.into_iter().flat_map(deny_read::file_rules));
    denied.into()
}

/// Inputs of the permission profiles of commands.
#[derive(Debug, Clone)]
pub(super) struct Permissions {
    pub(super) tools: Tools,
    pub(super) secrets: Arc<[FileSystemSandboxEntry]>,
}

impl Permissions {
    /// The profile of a command that the gateway starts itself. Patterns are expanded here, so that
    /// core's helper need not re-execute to expand them.
    pub(super) fn command_profile(&self, sandbox: Sandbox) -> PermissionProfile {
        let mut profile = self.profile(sandbox);
        deny_read::expand_patterns(&mut profile);
        profile
    }

    /// The profile of a conversation.
    ///
    /// Unsandboxed if no sandbox works and the operator allowed that: with another profile every
    /// command would fail.
    pub(super) fn profile(&self, sandbox: Sandbox) -> PermissionProfile {
        let policy = match (self.tools, sandbox) {
            (Tools::Unsandboxed, _) | (_, Sandbox::DangerFullAccess) => {
                return PermissionProfile::Disabled;
            }
            (Tools::On | Tools::Off, Sandbox::ReadOnly) => {
                SandboxPolicy::ReadOnly { network_access: false }
            }
            (Tools::On | Tools::Off, Sandbox::WorkspaceWrite) => SandboxPolicy::WorkspaceWrite {
                // By path: core would look up `/tmp` by its special name again and again.
                writable_roots: AbsolutePathBuf::from_absolute_path("/tmp").into_iter().collect(),
                network_access: false,
                exclude_tmpdir_env_var: false,
                exclude_slash_tmp: true,
            },
        };
        let mut files = FileSystemSandboxPolicy::from(&policy);
        // Core protects `.git`, `.agents` and `.codex` of a writable folder by name. Entries for
        // them would only make core look them up on disk several times a turn.
        files.entries.retain(|entry| !is_inside_project_root(&entry.path));
        files.entries.extend_from_slice(&self.secrets);
        PermissionProfile::from_runtime_permissions_with_enforcement(
            SandboxEnforcement::from_legacy_sandbox_policy(&policy),
            &files,
            NetworkSandboxPolicy::from(&policy),
        )
    }
}

fn is_inside_project_root(path: &FileSystemPath) -> bool {
    matches!(
        path,
        FileSystemPath::Special { value: FileSystemSpecialPath::ProjectRoots { subpath: Some(_) } }
    )
}
