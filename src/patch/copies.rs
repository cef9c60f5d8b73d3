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
use super::in_the_way;
use super::tree::File;
use crate::error::Error;

/// A folder of copies, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Copies(PathBuf);

impl Copies {
    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    pub(super) fn make(folder: PathBuf, files: &Files) -> io::Result<Self> {
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let copies = Self(folder);
        for (path, file) in files {
            let copy = copies.0.join(path);
            std::fs::create_dir_all(copy.parent().unwrap_or(&copies.0))?;
            let mode = if file.is_executable() { 0o755 } else { 0o644 };
            let mut new = std::fs::OpenOptions::new();
            let mut new = new.write(true).create_new(true).mode(mode).open(copy)?;
            new.write_all(&file.bytes)?;
        }
        Ok(copies)
    }

    /// What is there now: plain files, under paths that were checked.
    pub(super) fn read(&self, paths: &BTreeSet<PathBuf>) -> Result<Files, Error> {
        let mut files = Files::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|error| broken(&error))? {
                let path = entry.map_err(|error| broken(&error))?.path();
                let found = path.symlink_metadata().map_err(|error| broken(&error))?;
                if found.is_dir() {
                    folders.push(path);
                    continue;
                }
                let inside = path.strip_prefix(&self.0).unwrap_or(&path).to_owned();
                if !found.is_file() || !paths.contains(&inside) {
                    return Err(in_the_way(
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

impl Drop for Copies {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "copies of a patch's files are left");
        }
    }
}
