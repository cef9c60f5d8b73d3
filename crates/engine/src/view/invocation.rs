//! Arguments with which core starts its sandbox helper.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use codex_protocol::models::PermissionProfile;
use codex_protocol::permissions::FileSystemAccessMode;
use codex_protocol::permissions::FileSystemPath;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_protocol::permissions::FileSystemSandboxKind;
use codex_protocol::permissions::FileSystemSandboxPolicy;
use codex_protocol::permissions::NetworkSandboxPolicy;

use super::FILE;
use super::INNER_HELPER;
use super::VIEWS;
use super::View;
use crate::deny_read;

/// A command that core's sandbox helper is to run in a view.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(super) view: View,
    /// The folder of the view's files.
    pub(super) view_dir: PathBuf,
    /// The folder that the policy is relative to.
    pub(super) policy_cwd: PathBuf,
    /// The folder that the command starts in.
    pub(super) command_cwd: PathBuf,
    pub(super) files: FileSystemSandboxPolicy,
    pub(super) network: NetworkSandboxPolicy,
    pub(super) command: Vec<OsString>,
}

impl Invocation {
    /// Reads the arguments of this process, its name first. `None` if it is not the helper, if the
    /// profile names no view, or if core is to set up the sandbox itself: inside one already, or
    /// with a network of its own.
    ///
    /// # Errors
    /// The profile or the view cannot be read: the command must not run.
    pub(crate) fn read(arguments: &[OsString]) -> anyhow::Result<Option<Self>> {
        let mut arguments = arguments.iter();
        let called = arguments.next().and_then(|name| Path::new(name).file_name());
        if called.is_none_or(|name| name != INNER_HELPER) {
            return Ok(None);
        }
        let (mut policy_cwd, mut command_cwd, mut profile) = (None, None, None);
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--sandbox-policy-cwd") => policy_cwd = arguments.next().map(PathBuf::from),
                Some("--command-cwd") => command_cwd = arguments.next().map(PathBuf::from),
                Some(deny_read::PROFILE) => profile = arguments.next(),
                Some("--") => break,
                Some(_) | None => return Ok(None),
            }
        }
        let Some(text) = profile.and_then(|profile| profile.to_str()) else { return Ok(None) };
        let profile: PermissionProfile = serde_json::from_str(text)
            .with_context(|| format!("{}: expected a permission profile", deny_read::PROFILE))?;
        let (mut files, network) = profile.to_runtime_permissions();
        let Some(view_dir) = named_view(&files)? else { return Ok(None) };
        let view = std::fs::read(view_dir.join(FILE)).context("the view of the command is gone")?;
        let view: View = serde_json::from_slice(&view)?;
        // Hidden with all of codex's home.
        files.entries.retain(|entry| !is_denied_below(entry, &view.home));
        let policy_cwd = policy_cwd.context("--sandbox-policy-cwd: expected a folder")?;
        let command_cwd = command_cwd.unwrap_or_else(|| policy_cwd.clone());
        let command = arguments.cloned().collect();
        Ok(Some(Self { view, view_dir, policy_cwd, command_cwd, files, network, command }))
    }
}

/// The folder of the view that a policy names.
fn named_view(files: &FileSystemSandboxPolicy) -> anyhow::Result<Option<PathBuf>> {
    if files.kind != FileSystemSandboxKind::Restricted {
        return Ok(None);
    }
    let mut named = None;
    for path in files.entries.iter().filter_map(denied).filter(|path| is_view(path)) {
        if named.replace(path).is_some_and(|other| other != path) {
            bail!("the permission profile names more than one view");
        }
    }
    Ok(named.map(Path::to_owned))
}

/// The file or folder that an entry denies, if it denies one.
fn denied(entry: &FileSystemSandboxEntry) -> Option<&Path> {
    match &entry.path {
        _ if entry.access != FileSystemAccessMode::Deny => None,
        FileSystemPath::Path { path } => Some(path.as_path()),
        FileSystemPath::GlobPattern { pattern } => pattern
            .strip_suffix(deny_read::EVERYTHING)
            .and_then(|folder| folder.strip_suffix('/'))
            .map(Path::new),
        FileSystemPath::Special { .. } => None,
    }
}

/// Whether a path is that of a view: `…/gateway/views/PROCESS/VIEW`.
fn is_view(path: &Path) -> bool {
    path.ancestors().nth(2).is_some_and(|views| views.ends_with(VIEWS.iter().collect::<PathBuf>()))
}

fn is_denied_below(entry: &FileSystemSandboxEntry, home: &Path) -> bool {
    let path = match &entry.path {
        FileSystemPath::Path { path } => path.as_path(),
        FileSystemPath::GlobPattern { pattern } => Path::new(pattern),
        FileSystemPath::Special { .. } => return false,
    };
    entry.access == FileSystemAccessMode::Deny && path != home && path.starts_with(home)
}
