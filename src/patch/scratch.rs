//! [`Scratch`]: copies of the files that a patch names, in a folder that sandboxed commands cannot
//! reach.

use std::collections::BTreeSet;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::tree::File;
use super::tree::Files;
use super::tree::not_a_plain_file;
use crate::error::Error;
use crate::error::Kind;

/// The name prefix of scratch folders.
const PREFIX: &str = "patch-";

/// A folder of copies, removed on drop. The lock on it ends with the process, so that a later start
/// can tell a leftover folder from one in use.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: std::fs::File,
}

/// Removes the folders in `scratch_root` of processes that were killed while applying a patch.
///
/// # Errors
/// Cannot read `scratch_root` or remove a folder in it.
pub fn remove_leftovers(scratch_root: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(scratch_root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        // Another process with the same home may be using it.
        if std::fs::File::open(entry.path())?.try_lock().is_ok() {
            tracing::info!(folder = %entry.path().display(), "removing the scratch folder of a killed process");
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Scratch {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies `files` into a new folder in `scratch_root`.
    pub(super) fn create(scratch_root: &Path, files: &Files) -> Result<Self, Error> {
        Self::copy(scratch_root, files).map_err(|error| cannot_copy(&error))
    }

    fn copy(scratch_root: &Path, files: &Files) -> io::Result<Self> {
        let folder = scratch_root.join(format!("{PREFIX}{}", uuid::Uuid::new_v4()));
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

    /// Reads the files after the patch was applied.
    ///
    /// # Errors
    /// `InvalidRequest` if there is a file that is not in `paths`, or not a plain file.
    pub(super) fn read(&self, paths: &BTreeSet<PathBuf>) -> Result<Files, Error> {
        let mut files = Files::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|error| cannot_copy(&error))? {
                let path = entry.map_err(|error| cannot_copy(&error))?.path();
                let found = path.symlink_metadata().map_err(|error| cannot_copy(&error))?;
                if found.is_dir() {
                    folders.push(path);
                    continue;
                }
                let inside = path.strip_prefix(&self.folder).unwrap_or(&path).to_owned();
                if !found.is_file() || !paths.contains(&inside) {
                    return Err(not_a_plain_file(
                        &inside,
                        &io::Error::other("the patch does not name it, or it is not a plain file"),
                    ));
                }
                let bytes = std::fs::read(&path).map_err(|error| cannot_copy(&error))?;
                files.insert(inside, File { bytes, mode: found.permissions().mode() & 0o777 });
            }
        }
        Ok(files)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "cannot remove a scratch folder");
        }
    }
}

fn cannot_copy(error: &io::Error) -> Error {
    Error::new(Kind::Internal, format!("cannot copy the patched files: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_killed_processes_are_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(path("patch-of-a-crash/src")).unwrap();
        std::fs::write(path("patch-of-a-crash/src/a"), "x").unwrap();
        std::fs::create_dir(path("other")).unwrap();
        std::fs::write(path("patch-file"), "x").unwrap();
        let live = Scratch::create(scratch.path(), &Files::new()).unwrap();
        remove_leftovers(scratch.path()).unwrap();
        assert!(!path("patch-of-a-crash").exists());
        assert!(path("other").exists() && path("patch-file").exists());
        assert!(live.folder().exists());
        drop(live);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
        remove_leftovers(&path("nowhere")).unwrap();
    }
}
