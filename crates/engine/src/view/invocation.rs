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
    /// Reads the arguments of this process, its name first. `None` if it is not the helper, if neither
    /// the profile nor its own path names a view, or if core is to set up the sandbox itself: inside
    /// one already, or with a network of its own.
    ///
    /// # Errors
    /// The profile or the view cannot be read: the command must not run.
    pub(crate) fn read(arguments: &[OsString]) -> anyhow::Result<Option<Self>> {
        let mut arguments = arguments.iter();
        let Some(called) = arguments.next().map(Path::new) else { return Ok(None) };
        if called.file_name().is_none_or(|name| name != INNER_HELPER) {
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
        // Core gives the reviewer of approvals a profile of its own, and the conversation's helper.
        let own_alias = called.parent().filter(|folder| is_view(folder)).map(Path::to_owned);
        let Some(view_dir) = named_view(&files)?.or(own_alias) else { return Ok(None) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::rules;

    /// A view in a temporary folder, removed on drop.
    struct Disk(PathBuf);

    impl Disk {
        fn new() -> Self {
            let disk = Self(std::env::temp_dir().join(uuid::Uuid::new_v4().to_string()));
            let path = |name: &str| disk.0.join(name);
            let view = View {
                bwrap: path("bwrap"),
                exe: path("exe"),
                mounts_proc: true,
                home: path("home"),
                root: path("root"),
                folder: path("root/a"),
                temporary: Vec::new(),
                shown: Vec::new(),
            };
            std::fs::create_dir_all(disk.view_dir()).unwrap();
            std::fs::write(disk.view_dir().join(FILE), serde_json::to_vec(&view).unwrap()).unwrap();
            disk
        }

        fn view_dir(&self) -> PathBuf {
            self.0.join("home/gateway/views/process/view")
        }

        /// Arguments of the helper under a path, with rules that deny folders.
        fn arguments(&self, called: &Path, denied: &[PathBuf], option: &str) -> Vec<OsString> {
            let root = FileSystemPath::Special {
                value: codex_protocol::permissions::FileSystemSpecialPath::Root,
            };
            let mut entries = vec![FileSystemSandboxEntry::new(root, FileSystemAccessMode::Read)];
            entries.extend(denied.iter().flat_map(|folder| rules(folder)));
            let files = FileSystemSandboxPolicy::restricted(entries);
            let network = NetworkSandboxPolicy::Restricted;
            let profile = PermissionProfile::from_runtime_permissions(&files, network);
            let profile = serde_json::to_string(&profile).unwrap();
            let cwd = self.0.to_str().unwrap();
            let mut all = vec![called.as_os_str().to_owned()];
            all.extend(["--sandbox-policy-cwd", cwd, deny_read::PROFILE, &profile].map(Into::into));
            all.extend(Some(option).filter(|option| !option.is_empty()).map(Into::into));
            all.extend(["--", "echo", "--"].map(Into::into));
            all
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn view_is_named_by_profile_or_path() {
        let disk = Disk::new();
        let (alias, own) = (disk.0.join(INNER_HELPER), disk.view_dir().join(INNER_HELPER));
        let hidden = [disk.view_dir(), disk.0.join("home/sessions"), disk.0.join("else")];
        for (called, denied) in [(&alias, &hidden[..]), (&own, &[]), (&own, &hidden[..1])] {
            let read = Invocation::read(&disk.arguments(called, denied, "")).unwrap().unwrap();
            assert_eq!(read.view_dir, disk.view_dir());
            assert_eq!((read.policy_cwd.as_path(), &read.command_cwd), (disk.0.as_path(), &disk.0));
            assert_eq!(read.command, ["echo", "--"]);
            // What lies in codex's home is hidden anyway.
            let left = read.files.entries.iter().filter_map(self::denied);
            assert_eq!(left.count(), denied.len().saturating_sub(2));
        }
        for (called, denied, option) in [
            (&alias, &hidden[1..], ""),
            (&own, &hidden[..], "--apply-seccomp-then-exec"),
            (&own, &hidden[..], "--allow-network-for-proxy"),
            (&disk.0.join("codex-gateway"), &hidden[..], ""),
        ] {
            let arguments = disk.arguments(called, denied, option);
            assert!(Invocation::read(&arguments).unwrap().is_none(), "{arguments:?}");
        }
    }

    #[test]
    fn missing_or_second_view_is_refused() {
        let disk = Disk::new();
        let (alias, gone) = (disk.0.join(INNER_HELPER), disk.view_dir().with_file_name("gone"));
        for denied in [vec![gone.clone()], vec![disk.view_dir(), gone]] {
            assert!(Invocation::read(&disk.arguments(&alias, &denied, "")).is_err(), "{denied:?}");
        }
    }
}
