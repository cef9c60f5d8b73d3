//! Areas: the part of the disk that the commands of one folder have for themselves. They see no
//! other workspace, and their temporary files lie in a folder of their own, which is removed with
//! the last user of the area.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use codex_protocol::permissions::FileSystemAccessMode;
use codex_protocol::permissions::FileSystemPath;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_utils_absolute_path::AbsolutePathBuf;
use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::EngineError;
use crate::Sandbox;

/// The folder in codex's home with the temporary folders of all processes.
const TEMPORARY: &str = "command-tmp";
/// The variables that name the temporary folder.
pub(super) const VARIABLES: [&str; 3] = ["TMPDIR", "TEMP", "TMP"];

/// The areas of this process.
pub(super) struct Areas {
    /// The folders that commands do not see, except their own below.
    hidden: [AbsolutePathBuf; 2],
    /// This process's folder of temporary folders. Locked, so that no other process removes it.
    temporary: PathBuf,
    _lock: OwnedFd,
    live: Mutex<HashMap<PathBuf, Weak<Area>>>,
}

/// One area.
#[derive(Debug)]
pub(super) struct Area {
    hidden: [AbsolutePathBuf; 2],
    folder: AbsolutePathBuf,
    temporary: AbsolutePathBuf,
}

impl Areas {
    /// Creates this process's folder, and removes those of processes that have ended.
    pub(super) fn open(codex_home: &Path, workspace_root: &Path) -> io::Result<Self> {
        let all = codex_home.join(TEMPORARY);
        std::fs::create_dir_all(&all)?;
        for entry in all.read_dir()?.flatten() {
            // The lock is held until the folder is gone.
            if let Ok(_lock) = lock(&entry.path())
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                tracing::warn!(%error, "cannot remove temporary files of an ended process");
            }
        }
        let temporary = all.join(uuid::Uuid::new_v4().to_string());
        private_folder(&temporary)?;
        let hidden = [workspace_root, &all];
        let [root, all] = hidden.map(AbsolutePathBuf::from_absolute_path);
        let lock = lock(&temporary)?;
        Ok(Self { hidden: [root?, all?], temporary, _lock: lock, live: Mutex::default() })
    }

    /// The area of a folder below the workspace root; the same for all that work there.
    pub(super) fn of(&self, folder: &Path) -> Result<Arc<Area>, EngineError> {
        let failed = |error: io::Error| {
            EngineError::Failed(format!("cannot create a temporary folder: {error}"))
        };
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(area) = live.get(folder).and_then(Weak::upgrade) {
            return Ok(area);
        }
        live.retain(|_, area| area.strong_count() > 0);
        let temporary = self.temporary.join(uuid::Uuid::new_v4().to_string());
        private_folder(&temporary).map_err(failed)?;
        let area = Arc::new(Area {
            hidden: self.hidden.clone(),
            folder: AbsolutePathBuf::from_absolute_path(folder).map_err(failed)?,
            temporary: AbsolutePathBuf::from_absolute_path(temporary).map_err(failed)?,
        });
        live.insert(folder.to_owned(), Arc::downgrade(&area));
        Ok(area)
    }
}

impl Area {
    /// The temporary folder.
    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The rules of the area.
    pub(super) fn rules(&self, sandbox: Sandbox) -> Vec<FileSystemSandboxEntry> {
        let (folder, temporary) = match sandbox {
            // The folder itself is the root of the project, which core's policy makes writable.
            Sandbox::WorkspaceWrite => (None, Some(FileSystemAccessMode::Write)),
            Sandbox::ReadOnly => (Some(FileSystemAccessMode::Read), None),
            Sandbox::DangerFullAccess => return Vec::new(),
        };
        // Codex's home may lie in the workspace root. Its secrets are hidden on their own, which
        // does not work in a folder that is hidden already.
        let home = self.temporary.as_path().ancestors().nth(3);
        let hidden = self
            .hidden
            .iter()
            .filter(|hidden| home.is_none_or(|home| !home.starts_with(hidden.as_path())));
        let rule = |path: &AbsolutePathBuf, access| {
            FileSystemSandboxEntry::new(FileSystemPath::Path { path: path.clone() }, access)
        };
        hidden
            .map(|hidden| rule(hidden, FileSystemAccessMode::Deny))
            .chain(folder.map(|access| rule(&self.folder, access)))
            .chain(temporary.map(|access| rule(&self.temporary, access)))
            .collect()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if std::fs::remove_dir(&self.temporary).is_err() {
            let temporary = self.temporary.clone();
            let remove = move || {
                if let Err(error) = std::fs::remove_dir_all(&temporary)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%error, "cannot remove a temporary folder");
                }
            };
            if let Err(error) = std::thread::Builder::new().spawn(remove) {
                tracing::warn!(%error, "a temporary folder stays until the next start");
            }
        }
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
