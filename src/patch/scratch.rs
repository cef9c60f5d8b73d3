//! Copies of the files that a patch names, in a folder that only the gateway reaches: where it is
//! applied.

use std::collections::BTreeSet;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::Files;
use super::broken;
use super::not_a_plain_file;
use super::tree::File;
use crate::error::Error;

/// What the names of such folders begin with.
const PREFIX: &str = "patch-";

/// A folder of copies, removed when it is dropped. It is locked as long as its process lives.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: std::fs::File,
}

/// Removes the folders of processes that were killed while they applied a patch.
pub(super) fn remove_leftovers(scratch: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        // Another process with the same home may be at it.
        if std::fs::File::open(entry.path())?.try_lock().is_ok() {
            tracing::info!(folder = %entry.path().display(), "removing copies of a patch's files");
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Scratch {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// In a folder of its own in `scratch`.
    pub(super) fn make(scratch: &Path, files: &Files) -> io::Result<Self> {
        let folder = scratch.join(format!("{PREFIX}{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let lock = std::fs::File::open(&folder)?;
        lock.lock()?;
        let scratch = Self { folder, _lock: lock };
        for (path, file) in files {
            let copy = scratch.folder.join(path);
            std::fs::create_dir_all(copy.parent().unwrap_or(&scratch.folder))?;
            let mode = if file.is_executable() { 0o755 } else { 0o644 };
            let mut new = std::fs::OpenOptions::new();
            let mut new = new.write(true).create_new(true).mode(mode).open(copy)?;
            new.write_all(&file.bytes)?;
        }
        Ok(scratch)
    }

    /// What is there now: plain files, under paths that were checked.
    pub(super) fn read(&self, paths: &BTreeSet<PathBuf>) -> Result<Files, Error> {
        let mut files = Files::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|error| broken(&error))? {
                let path = entry.map_err(|error| broken(&error))?.path();
                let found = path.symlink_metadata().map_err(|error| broken(&error))?;
                if found.is_dir() {
                    folders.push(path);
                    continue;
                }
                let inside = path.strip_prefix(&self.folder).unwrap_or(&path).to_owned();
                if !found.is_file() || !paths.contains(&inside) {
                    return Err(not_a_plain_file(
                        &inside,
                        &io::Error::other("it is not named, or no file"),
                    ));
                }
                let bytes = std::fs::read(&path).map_err(|error| broken(&error))?;
                files.insert(inside, File { bytes, mode: found.permissions().mode() & 0o777 });
            }
        }
        Ok(files)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "copies of a patch's files are left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(path("patch-of-a-crash/src")).unwrap();
        std::fs::write(path("patch-of-a-crash/src/a"), "x").unwrap();
        std::fs::create_dir(path("other")).unwrap();
        std::fs::write(path("patch-file"), "x").unwrap();
        let live = Scratch::make(scratch.path(), &Files::new()).unwrap();
        remove_leftovers(scratch.path()).unwrap();
        assert!(!path("patch-of-a-crash").exists());
        assert!(path("other").exists() && path("patch-file").exists());
        assert!(live.folder().exists());
        drop(live);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
        remove_leftovers(&path("nowhere")).unwrap();
    }
}
