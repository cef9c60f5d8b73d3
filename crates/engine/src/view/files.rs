//! Views on disk: a folder for each process, a folder in it for each view.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use tokio::time::Instant;

use super::FILE;
use super::INNER_HELPER;
use super::Settings;
use super::VIEWS;
use super::View;
use super::mounts;
use super::placeholders;
use super::processes::Processes;
use crate::children::HANDOVER;

/// Folders of codex's home that commands read: skills, their own and those of plug-ins, what the
/// memories extension has them read, and the start-up files of their shells.
const SHOWN: [&str; 4] = ["skills", "plugins", "memories", "shell_snapshots"];
/// Folders that are replaced by the view's own, with the names of those.
const TEMPORARY: [(&str, &str); 2] = [("/tmp", "tmp"), ("/var/tmp", "var-tmp")];
/// The name of the folder that replaces the gateway's `TMPDIR`.
const OWN_TMPDIR: &str = "tmpdir";

/// How long processes of an ended gateway may take to end.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How often they are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The folder of this process's views.
#[derive(Debug)]
pub(super) struct ProcessFolder {
    path: PathBuf,
    /// Held, so that no other process removes the views.
    _lock: OwnedFd,
}

/// A view on disk.
#[derive(Debug)]
pub(super) struct ViewFiles {
    pub(super) dir: PathBuf,
    /// The temporary folders, as commands name them.
    pub(super) temporary: Vec<PathBuf>,
}

impl ProcessFolder {
    /// Creates the folder, and removes those of processes that have ended.
    pub(super) fn create(codex_home: &Path) -> io::Result<Self> {
        let all = VIEWS.iter().fold(codex_home.to_owned(), |path, name| path.join(name));
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&all)?;
        remove_ended(&all)?;
        let path = all.join(uuid::Uuid::new_v4().to_string());
        private_folder(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Removes the folder, if all views have gone.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_dir(&self.path);
    }

    /// Creates a view.
    pub(super) fn create_view(
        &self,
        settings: &Settings,
        mounts_proc: bool,
        folder: &Path,
    ) -> io::Result<ViewFiles> {
        let dir = self.path.join(uuid::Uuid::new_v4().to_string());
        private_folder(&dir)?;
        let temporary = create_temporary(&dir, folder)?;
        let home = &settings.codex_home;
        let shown = SHOWN.iter().map(|name| home.join(name)).chain(settings.aliases.clone());
        let view = View {
            bwrap: settings.bwrap.clone(),
            exe: settings.exe.clone(),
            mounts_proc,
            home: home.clone(),
            root: settings.workspace_root.clone(),
            folder: folder.to_owned(),
            shown: shown.map(|path| (path.clone(), path.canonicalize().unwrap_or(path))).collect(),
            temporary,
        };
        for (point, is_folder) in mounts::points_in_temporary(&view) {
            if is_folder {
                std::fs::create_dir_all(&point)?;
            } else {
                point.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                std::fs::File::create(&point)?;
            }
        }
        symlink(&settings.exe, dir.join(INNER_HELPER))?;
        if let Some(aliases) = &settings.aliases {
            // The helper looks for the limits of its command beside its own path.
            symlink(aliases.join(HANDOVER), dir.join(HANDOVER))?;
        }
        std::fs::write(dir.join(FILE), serde_json::to_vec(&view)?)?;
        Ok(ViewFiles { dir, temporary: view.temporary.into_iter().map(|(path, _)| path).collect() })
    }
}

/// Creates temporary folders for a folder's commands. Returns where they are to be, and themselves.
fn create_temporary(view_dir: &Path, folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut temporary: Vec<(PathBuf, PathBuf)> = Vec::new();
    let own = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let standard = TEMPORARY.map(|(path, name)| (PathBuf::from(path), name));
    for (path, name) in standard.into_iter().chain(own.map(|path| (path, OWN_TMPDIR))) {
        let Ok(path) = path.canonicalize() else { continue };
        let is_folder = path.is_dir() && path.parent().is_some() && path != folder;
        if is_folder && !temporary.iter().any(|(other, _)| *other == path) {
            let source = view_dir.join(name);
            private_folder(&source)?;
            temporary.push((path, source));
        }
    }
    Ok(temporary)
}

impl ViewFiles {
    /// Removes the placeholders, once no process is in the view and before another view of the same
    /// folder is created.
    pub(super) fn remove_placeholders(&self) {
        placeholders::remove(&self.dir);
    }

    /// Removes the rest.
    pub(super) fn remove(&self) {
        if let Err(error) = remove_tree(&self.dir) {
            tracing::warn!(%error, "temporary files of commands stay until the next start");
        }
    }
}

/// Removes the views of processes that have ended.
fn remove_ended(all: &Path) -> io::Result<()> {
    for process in all.read_dir()?.flatten() {
        // The lock is held until the folder is gone.
        let Ok(_lock) = lock(&process.path()) else { continue };
        for view in process.path().read_dir()?.flatten() {
            let deadline = Instant::now() + END_LIMIT;
            loop {
                let processes = Processes::scan();
                processes.kill(&view.path());
                if !processes.are_in(&view.path()) || Instant::now() >= deadline {
                    break;
                }
                thread::sleep(LOOK_AGAIN);
            }
            placeholders::remove(&view.path());
        }
        if let Err(error) = remove_tree(&process.path()) {
            tracing::warn!(%error, "cannot remove temporary files of an ended process");
        }
    }
    Ok(())
}

/// Removes a folder. Commands may have taken permissions from folders in it.
fn remove_tree(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            allow(folder);
            std::fs::remove_dir_all(folder)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives the owner access to all folders in a folder.
fn allow(folder: &Path) {
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        allow(&entry.path());
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

/// Locks a folder until the result is dropped.
fn lock(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}
