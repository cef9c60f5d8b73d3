//! Views of this process: created for the first user of a folder, removed after its last.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::INNER_HELPER;
use super::files::ProcessFolder;
use super::files::ViewFiles;
use super::processes::Processes;
use super::remover;
use crate::EngineError;

/// What all views have in common.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) codex_home: PathBuf,
    pub(crate) workspace_root: PathBuf,
    /// This binary.
    pub(crate) exe: PathBuf,
    /// The folder with core's aliases of this binary.
    pub(crate) aliases: Option<PathBuf>,
    /// The bubblewrap program.
    pub(crate) bwrap: PathBuf,
}

/// The views of this process.
#[derive(Clone)]
pub(crate) struct Views {
    shared: Arc<Shared>,
    /// To the thread that removes views.
    unused: mpsc::Sender<PathBuf>,
}

pub(super) struct Shared {
    settings: Settings,
    /// Whether a new `/proc` can be mounted.
    mounts_proc: AtomicBool,
    process: ProcessFolder,
    live: Mutex<HashMap<PathBuf, Live>>,
}

/// A view that exists.
pub(super) struct Live {
    pub(super) files: Arc<ViewFiles>,
    pub(super) users: usize,
    /// How often it came to have no user.
    pub(super) ends: u64,
    /// Dropped with the view.
    until_gone: Vec<Arc<dyn Any + Send + Sync>>,
}

/// A use of a view. Dropping the last one of a folder removes the view, once no process is in it.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    unused: mpsc::Sender<PathBuf>,
    folder: PathBuf,
    files: Arc<ViewFiles>,
}

impl Views {
    /// Removes views of processes that have ended, and prepares for new ones.
    pub(crate) fn open(settings: Settings) -> io::Result<Self> {
        let settings = Settings {
            codex_home: settings.codex_home.canonicalize()?,
            workspace_root: settings.workspace_root.canonicalize()?,
            ..settings
        };
        let process = ProcessFolder::create(&settings.codex_home)?;
        let (mounts_proc, live) = (AtomicBool::new(true), Mutex::default());
        let shared = Arc::new(Shared { settings, mounts_proc, process, live });
        let (unused, folders) = mpsc::channel();
        let remove = Arc::clone(&shared);
        thread::Builder::new()
            .name("view-remove".to_owned())
            .spawn(move || remover::run(&remove, &folders))?;
        Ok(Self { shared, unused })
    }

    /// Has new views go without a `/proc` of their own.
    pub(crate) fn mount_no_proc(&self) {
        self.shared.mounts_proc.store(false, Ordering::Relaxed);
    }

    /// The view of a folder; the same for all users. `until_gone` is dropped with the view.
    ///
    /// # Errors
    /// `Rejected` for codex's home and folders in it that are no workspaces; `Failed` where the view
    /// cannot be written.
    pub(crate) fn lease(
        &self,
        folder: &Path,
        until_gone: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Lease, EngineError> {
        let failed = |error| EngineError::Failed(format!("cannot set up the sandbox: {error}"));
        let folder = folder.canonicalize().map_err(failed)?;
        let settings = &self.shared.settings;
        let (home, root) = (&settings.codex_home, &settings.workspace_root);
        if folder.starts_with(home) && (root == home || !root.starts_with(home)) {
            return Err(EngineError::Rejected(format!(
                "cwd: expected a folder outside CODEX_HOME ({})",
                home.display()
            )));
        }
        let mut live = self.shared.live();
        let files = match live.get_mut(&folder) {
            Some(view) => {
                view.users += 1;
                view.until_gone.extend(until_gone);
                Arc::clone(&view.files)
            }
            None => {
                let mounts_proc = self.shared.mounts_proc.load(Ordering::Relaxed);
                let created = self.shared.process.create_view(settings, mounts_proc, &folder);
                let files = Arc::new(created.map_err(failed)?);
                let until_gone = until_gone.into_iter().collect();
                let view = Live { files: Arc::clone(&files), users: 1, ends: 0, until_gone };
                live.insert(folder.clone(), view);
                files
            }
        };
        drop(live);
        let (shared, unused) = (Arc::clone(&self.shared), self.unused.clone());
        Ok(Lease { shared, unused, folder, files })
    }

    /// Kills all that is left in views and removes them, whoever uses them. Blocks for at most
    /// `limit`.
    pub(crate) fn close(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let processes = Processes::scan();
            let mut live = self.shared.live();
            live.retain(|_, view| {
                processes.kill(&view.files.dir);
                let in_use = processes.are_in(&view.files.dir);
                if !in_use {
                    view.files.remove_placeholders();
                    view.files.remove();
                }
                in_use
            });
            if live.is_empty() {
                return self.shared.process.remove();
            }
            if Instant::now() >= deadline {
                return;
            }
            drop(live);
            thread::sleep(remover::LOOK_AGAIN);
        }
    }
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("process", &self.shared.process).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<PathBuf, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often each of the views came to have no user, of those that have none.
    pub(super) fn ends_of_use<'a>(
        &self,
        folders: impl Iterator<Item = &'a PathBuf>,
    ) -> HashMap<PathBuf, u64> {
        let live = self.live();
        folders
            .filter_map(|folder| Some((folder, live.get(folder).filter(|it| it.users == 0)?)))
            .map(|(folder, view)| (folder.clone(), view.ends))
            .collect()
    }
}

impl Lease {
    /// The folder of the view's files.
    pub(crate) fn view_dir(&self) -> &Path {
        &self.files.dir
    }

    /// This binary, under a path that tells it the view and that it is core's sandbox helper.
    pub(crate) fn helper(&self) -> PathBuf {
        self.files.dir.join(INNER_HELPER)
    }

    /// The temporary folders, as commands name them.
    pub(crate) fn temporary(&self) -> &[PathBuf] {
        &self.files.temporary
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut live = self.shared.live();
        let Some(view) = live.get_mut(&self.folder) else { return };
        view.users = view.users.saturating_sub(1);
        if view.users == 0 {
            view.ends += 1;
            let _ = self.unused.send(self.folder.clone());
        }
    }
}
