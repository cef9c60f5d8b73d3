//! Access of a conversation's commands.

use std::any::Any;
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

use super::Options;
use crate::Sandbox;
use crate::deny_read;
use crate::deny_read::EVERYTHING;
use crate::sandbox::Tools;
#[cfg(target_os = "linux")]
use crate::view;

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
pub(super) fn secrets(config: &Config, options: &Options) -> Arc<[FileSystemSandboxEntry]> {
    let home = config.codex_home.as_path();
    let mut denied: Vec<_> = SECRETS.iter().flat_map(|name| deny_read::rules(home, name)).collect();
    if config.sqlite_home != home {
        denied.extend(deny_read::rules(&config.sqlite_home, DATABASES));
    }
    if config.log_dir != home.join("log") {
        denied.extend(deny_read::rules(&config.log_dir, EVERYTHING));
    }
    let elsewhere = options.config_path.iter().filter(|path| **path != home.join("config.toml"));
    let files = elsewhere.chain(&options.secret_files);
    denied.extend(files.flat_map(|path| deny_read::file_rules(path)));
    denied.into()
}

/// Inputs of the permission profiles of commands.
#[derive(Debug, Clone)]
pub(super) struct Permissions {
    pub(super) tools: Tools,
    pub(super) secrets: Arc<[FileSystemSandboxEntry]>,
    /// The view of the commands, on Linux with a sandbox.
    #[cfg(target_os = "linux")]
    pub(super) view: Option<Arc<view::Lease>>,
    /// Dropped with the permissions: what must outlive the commands, if they have no view.
    pub(super) until_gone: Option<Arc<dyn Any + Send + Sync>>,
}

impl Permissions {
    /// The profile of a command that the gateway starts itself.
    pub(super) fn command_profile(&self, sandbox: Sandbox) -> PermissionProfile {
        let mut profile = self.profile(sandbox);
        #[cfg(target_os = "linux")]
        if self.view.is_some() {
            return profile;
        }
        // Without a view core's helper would re-execute to expand the patterns.
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
                writable_roots: self.temporary(),
                network_access: false,
                exclude_tmpdir_env_var: self.has_view(),
                exclude_slash_tmp: true,
            },
        };
        let mut files = FileSystemSandboxPolicy::from(&policy);
        // Core protects `.git`, `.agents` and `.codex` of a writable folder by name. Entries for
        // them would only make core look them up on disk several times a turn.
        files.entries.retain(|entry| !is_inside_project_root(&entry.path));
        files.entries.extend_from_slice(&self.secrets);
        #[cfg(target_os = "linux")]
        files.entries.extend(self.view.iter().flat_map(|view| view::rules(view.view_dir())));
        PermissionProfile::from_runtime_permissions_with_enforcement(
            SandboxEnforcement::from_legacy_sandbox_policy(&policy),
            &files,
            NetworkSandboxPolicy::from(&policy),
        )
    }
}

impl Permissions {
    /// Whether the commands have a view.
    pub(super) fn has_view(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.view.is_some();
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// The temporary folders, as commands name them.
    fn temporary(&self) -> Vec<AbsolutePathBuf> {
        #[cfg(target_os = "linux")]
        if let Some(view) = &self.view {
            let folders = view.temporary().iter();
            return folders.flat_map(AbsolutePathBuf::from_absolute_path).collect();
        }
        AbsolutePathBuf::from_absolute_path("/tmp").into_iter().collect()
    }
}

fn is_inside_project_root(path: &FileSystemPath) -> bool {
    matches!(
        path,
        FileSystemPath::Special { value: FileSystemSpecialPath::ProjectRoots { subpath: Some(_) } }
    )
}
