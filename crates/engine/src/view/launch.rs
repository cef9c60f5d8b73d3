//! The helper's work: from a policy and a view to a bubblewrap command line.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::anyhow;
use anyhow::bail;
use codex_protocol::models::PermissionProfile;
use codex_protocol::permissions::FileSystemSandboxPolicy;
use codex_protocol::permissions::NetworkSandboxPolicy;

use super::INNER_HELPER;
use super::Invocation;
use super::View;
use super::mounts::Access;
use super::mounts::Mount;
use super::mounts::Mounts;
use super::placeholders;
use crate::deny_read;

/// Replaces this process with bubblewrap, in which core's helper runs the command. Returns only on
/// failure.
pub(crate) fn launch(invocation: Invocation) -> anyhow::Error {
    let program = invocation.view.bwrap.clone();
    match command_line(invocation) {
        Ok(arguments) => {
            let error = Command::new(&program).arg0("bwrap").args(arguments).exec();
            anyhow!("cannot start {}: {error}", program.display())
        }
        Err(error) => error.context("cannot set up the sandbox"),
    }
}

fn command_line(mut invocation: Invocation) -> anyhow::Result<Vec<OsString>> {
    let access = resolve(&mut invocation)?;
    let mounts = Mounts::of(&invocation.view, &access)?;
    let Invocation { view, policy_cwd, command_cwd, network, command, .. } = invocation;
    let mut line = Line::default();
    // A capability in the sandbox's user namespace, which the gateway's root would keep, is one to
    // unmount what hides files.
    line.push(["--new-session", "--die-with-parent", "--cap-drop", "ALL"]);
    line.push([if access.writes_everywhere { "--bind" } else { "--ro-bind" }, "/", "/"]);
    line.push(["--dev", "/dev"]);
    line.mount(&mounts);
    line.push(["--unshare-user", "--unshare-pid", "--unshare-ipc"]);
    if !network.is_enabled() {
        line.push(["--unshare-net"]);
    }
    if view.mounts_proc {
        line.push(["--proc", "/proc"]);
    }
    let command_cwd = command_cwd.canonicalize().unwrap_or(command_cwd);
    line.push(["--chdir".as_ref(), command_cwd.as_os_str(), "--".as_ref()]);
    line.push([view.home.join(INNER_HELPER)]);
    line.push(["--sandbox-policy-cwd".as_ref(), policy_cwd.as_os_str()]);
    line.push([deny_read::PROFILE, &inner_profile(network)?, "--apply-seccomp-then-exec", "--"]);
    line.push(command);
    Ok(line.0)
}

/// The profile for core's helper inside: it cuts off the network, and files are bubblewrap's work.
fn inner_profile(network: NetworkSandboxPolicy) -> serde_json::Result<String> {
    let files = FileSystemSandboxPolicy::restricted(Vec::new());
    serde_json::to_string(&PermissionProfile::from_runtime_permissions(&files, network))
}

/// Resolves a policy to paths, and creates the placeholders that it needs.
fn resolve(invocation: &mut Invocation) -> anyhow::Result<Access> {
    let cwd = invocation.policy_cwd.as_path();
    deny_read::expand_entries(&mut invocation.files.entries);
    let files = &invocation.files;
    if let Some(pattern) = files.get_unreadable_globs_with_cwd(cwd).first() {
        bail!("a denied pattern cannot be hidden: {pattern}");
    }
    if !files.has_full_disk_read_access() && !files.can_read_path_with_cwd(Path::new("/"), cwd) {
        bail!("a policy without access to / is not supported");
    }
    let denied = files.get_unreadable_roots_with_cwd(cwd);
    let mut access = Access {
        writes_everywhere: files.can_write_path_with_cwd(Path::new("/"), cwd),
        denied: denied.iter().map(|path| path.to_path_buf()).filter(|path| path.exists()).collect(),
        ..Access::default()
    };
    for root in files.get_writable_roots_with_cwd(cwd) {
        let Ok(folder) = root.root.as_path().canonicalize() else { continue };
        if may_be_project(&invocation.view, &folder) {
            let named = root.protected_metadata_names.iter().map(|name| folder.join(name));
            let listed = root.read_only_subpaths.iter().filter_map(|path| {
                Some(folder.join(path.as_path().strip_prefix(root.root.as_path()).ok()?))
            });
            for path in named.chain(listed.filter(|path| path.symlink_metadata().is_ok())) {
                if !access.denied.contains(&path) && protect(&invocation.view_dir, &folder, &path)?
                {
                    access.protected.push(path);
                }
            }
        }
        access.writable.push(folder);
    }
    Ok(access)
}

/// Whether a writable folder is the command's own, or one outside of everything of the gateway's.
/// Temporary folders are no projects.
fn may_be_project(view: &View, folder: &Path) -> bool {
    let temporary = view.temporary.iter().map(|(path, _)| path);
    let mut elsewhere = [&view.home, &view.root].into_iter().chain(temporary);
    folder == view.folder
        || folder.parent().is_some() && !elsewhere.any(|around| folder.starts_with(around))
}

/// Makes sure that a path in a writable folder can be mounted on. Returns whether it needs to be.
fn protect(view_dir: &Path, folder: &Path, path: &Path) -> anyhow::Result<bool> {
    let inner = path.strip_prefix(folder).unwrap_or(path);
    let mut way = folder.to_owned();
    for name in inner.iter() {
        way.push(name);
        match way.symlink_metadata() {
            Ok(file) if file.is_symlink() => {
                bail!("{}: expected a file or a folder, got a link; remove it", way.display())
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return placeholders::create(view_dir, path)
                    .with_context(|| format!("cannot protect {}", path.display()));
            }
            Err(error) => return Err(error).context(way.display().to_string()),
        }
    }
    Ok(true)
}

/// A command line of bubblewrap.
#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn push<T: Into<OsString>>(&mut self, words: impl IntoIterator<Item = T>) {
        self.0.extend(words.into_iter().map(Into::into));
    }

    fn mount(&mut self, mounts: &Mounts) {
        for (target, mount) in mounts.iter() {
            let target = PathBuf::from(target);
            match mount {
                Mount::Empty => self.push(["--tmpfs".into(), target]),
                // Devices cannot be opened on this mount.
                Mount::Unreadable => self.push(["--ro-bind".into(), "/dev/null".into(), target]),
                Mount::Show { source, writable } => {
                    let option = if *writable { "--bind" } else { "--ro-bind" };
                    self.push([PathBuf::from(option), source.clone(), target]);
                }
            }
        }
        // Only now: the other targets had to be created in them.
        for (target, _) in mounts.iter().filter(|(_, mount)| **mount == Mount::Empty) {
            self.push(["--remount-ro".as_ref(), target.as_os_str()]);
        }
    }
}
