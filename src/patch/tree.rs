//! [`Tree`]: the patched folder, accessed through file descriptors. No link below the workspace
//! root is followed, so a concurrent change cannot redirect a write out of it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RawMode;
use rustix::io::Errno;

use super::budget::Budget;
use super::budget::MAX_BYTES;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

pub(super) type Files = BTreeMap<PathBuf, File>;
/// The new content of each changed file; `None` removes it.
pub(super) type Edits = BTreeMap<PathBuf, Option<File>>;

/// The content and the permissions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// The patched folder.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// The folder that holds all patched folders.
    workspace: std::fs::File,
}

/// A new file beside its target.
#[derive(Debug)]
pub(super) struct Prepared {
    name: String,
    target: PathBuf,
}

/// Temporary files are named `.UUID.patch`.
const TEMPORARY_PREFIX: &str = ".";
const TEMPORARY_SUFFIX: &str = ".patch";

const FOLDER: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

impl Tree {
    /// Opens a folder below `root`, whose own path is trusted.
    pub(super) fn open(root: &Path, folder: &Path) -> io::Result<Self> {
        let mut at = rustix::fs::open(root, FOLDER, Mode::empty())?;
        let workspace = std::fs::File::from(at.try_clone()?);
        for part in folder.strip_prefix(root).map_err(io::Error::other)?.components() {
            at = rustix::fs::openat(&at, part.as_os_str(), FOLDER, Mode::empty())?;
        }
        Ok(Self { root: at, workspace })
    }

    /// Opens the folder that contains `path`. With `created`, creates missing folders and lists
    /// them there.
    fn parent(&self, path: &Path, mut created: Option<&mut Vec<PathBuf>>) -> io::Result<OwnedFd> {
        let mut at = self.root.try_clone()?;
        let mut walked = PathBuf::new();
        for part in path.parent().unwrap_or(Path::new("")).components() {
            walked.push(part);
            if let Some(created) = created.as_deref_mut() {
                match rustix::fs::mkdirat(&at, part.as_os_str(), mode(0o755)) {
                    Ok(()) => created.push(walked.clone()),
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            at = rustix::fs::openat(&at, part.as_os_str(), FOLDER, Mode::empty())?;
        }
        Ok(at)
    }

    /// Returns the size of those of `paths` that exist, together.
    ///
    /// # Errors
    /// `InvalidRequest` if one is not a plain file or leads through a link; `TooLarge`.
    pub(super) fn measure(&self, paths: &BTreeSet<PathBuf>, budget: &Budget) -> Result<u64, Error> {
        let mut size = 0_u64;
        for path in paths {
            budget.check()?;
            if let Some((_, found)) =
                self.open_file(path).map_err(|error| not_a_plain_file(path, &error))?
            {
                size = size.saturating_add(found.len());
            }
        }
        if size > MAX_BYTES {
            let detail =
                format!("patch: expected to touch files of at most {MAX_BYTES} bytes together");
            return Err(Error::new(Kind::TooLarge, detail));
        }
        Ok(size)
    }

    /// Reads those of `paths` that exist, at most `limit` bytes together.
    ///
    /// # Errors
    /// `InvalidRequest` if one is not a plain file or leads through a link, or has grown.
    pub(super) fn read_all(&self, paths: &BTreeSet<PathBuf>, limit: u64) -> Result<Files, Error> {
        let mut files = Files::new();
        let mut remaining = limit;
        for path in paths {
            match self.read(path, remaining) {
                Ok(Some(file)) => {
                    remaining = remaining.saturating_sub(file.bytes.len() as u64);
                    files.insert(path.clone(), file);
                }
                Ok(None) => {}
                Err(error) => return Err(not_a_plain_file(path, &error)),
            }
        }
        Ok(files)
    }

    /// Opens a file for reading; `None` if it does not exist.
    fn open_file(&self, path: &Path) -> io::Result<Option<(std::fs::File, std::fs::Metadata)>> {
        let open = || -> io::Result<OwnedFd> {
            let folder = self.parent(path, None)?;
            // Without NONBLOCK, opening a pipe would wait for a writer.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            Ok(rustix::fs::openat(&folder, name(path)?, flags, Mode::empty())?)
        };
        let file = match open() {
            Ok(file) => std::fs::File::from(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        Ok(Some((file, found)))
    }

    /// Reads a file; `None` if it does not exist.
    ///
    /// # Errors
    /// The path is not a plain file or leads through a link, or the file exceeds `limit` bytes.
    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<Option<File>> {
        let Some((file, found)) = self.open_file(path)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(limit)).unwrap_or(0));
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"));
        }
        Ok(Some(File { bytes, mode: found.permissions().mode() & 0o7777 }))
    }

    /// Whether a file still is as it was read, or still does not exist. Holds a part at a time.
    ///
    /// # Errors
    /// As [`Tree::read`].
    pub(super) fn is_still(&self, path: &Path, before: Option<&File>) -> io::Result<bool> {
        let (Some((mut file, found)), Some(before)) = (self.open_file(path)?, before) else {
            return Ok(self.open_file(path)?.is_none() && before.is_none());
        };
        let same_kind = found.permissions().mode() & 0o7777 == before.mode
            && found.len() == before.bytes.len() as u64;
        if !same_kind {
            return Ok(false);
        }
        let mut part = vec![0; 1 << 16];
        let mut rest = before.bytes.as_slice();
        loop {
            let read = file.read(&mut part)?;
            match (part.get(..read), rest.split_at_checked(read)) {
                (Some([]), _) => return Ok(rest.is_empty()),
                (Some(read), Some((same, after))) if read == same => rest = after,
                _ => return Ok(false),
            }
        }
    }

    /// Writes a file beside its target. Lists the folders that it creates in `created`.
    pub(super) fn prepare(
        &self,
        path: &Path,
        file: &File,
        created: &mut Vec<PathBuf>,
    ) -> io::Result<Prepared> {
        let folder = self.parent(path, Some(created))?;
        let name = format!("{TEMPORARY_PREFIX}{}{TEMPORARY_SUFFIX}", uuid::Uuid::new_v4());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&folder, &name, flags, mode(0o600))?;
        let mut new = std::fs::File::from(new);
        let prepared = Prepared { name, target: path.to_owned() };
        let written = rustix::fs::fchmod(&new, mode(file.mode & 0o777))
            .map_err(io::Error::from)
            .and_then(|()| new.write_all(&file.bytes))
            .and_then(|()| new.sync_data());
        match written {
            Ok(()) => Ok(prepared),
            Err(error) => {
                self.discard(&prepared);
                Err(error)
            }
        }
    }

    /// Renames a prepared file over its target, atomically.
    pub(super) fn replace(&self, prepared: &Prepared) -> io::Result<()> {
        let folder = self.parent(&prepared.target, None)?;
        Ok(rustix::fs::renameat(&folder, &prepared.name, &folder, name(&prepared.target)?)?)
    }

    /// Removes a prepared file, unless it has replaced its target.
    pub(super) fn discard(&self, prepared: &Prepared) {
        if let Ok(folder) = self.parent(&prepared.target, None) {
            let _ = rustix::fs::unlinkat(&folder, &prepared.name, AtFlags::empty());
        }
    }

    /// Locks the workspace against other processes until dropped; `None` if one has the lock,
    /// which any command can take.
    pub(super) fn try_lock(&self) -> Option<WorkspaceLock<'_>> {
        self.workspace.try_lock().ok().map(|()| WorkspaceLock(&self.workspace))
    }

    /// Removes temporary files of killed processes from the folder of `path`, if it exists.
    /// Needs the lock: without it they may be another gateway's.
    pub(super) fn remove_leftovers(
        &self,
        _lock: &WorkspaceLock<'_>,
        path: &Path,
    ) -> io::Result<()> {
        let folder = match self.parent(path, None) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            folder => folder?,
        };
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_ok_and(is_temporary) {
                continue;
            }
            tracing::info!(file = ?name, "removing the temporary file of a killed process");
            rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Writes the entries of the folder of `path` to the disk.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.parent(path, None)?)?)
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let folder = self.parent(path, None)?;
        Ok(rustix::fs::unlinkat(&folder, name(path)?, AtFlags::empty())?)
    }

    /// Removes a folder if it is empty. Returns whether it was.
    pub(super) fn remove_empty(&self, path: &Path) -> bool {
        let folder = self.parent(path, None).ok();
        folder.zip(name(path).ok()).is_some_and(|(folder, name)| {
            rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR).is_ok()
        })
    }
}

/// Held while files of the workspace are prepared and replaced.
#[derive(Debug)]
pub(super) struct WorkspaceLock<'a>(&'a std::fs::File);

impl Drop for WorkspaceLock<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn is_temporary(name: &str) -> bool {
    let uuid =
        name.strip_prefix(TEMPORARY_PREFIX).and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX));
    uuid.is_some_and(|uuid| uuid.len() == 36 && uuid::Uuid::try_parse(uuid).is_ok())
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits as RawMode)
}

fn name(path: &Path) -> io::Result<&OsStr> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Ok(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

pub(super) fn not_a_plain_file(path: &Path, error: &io::Error) -> Error {
    Error::invalid(format!(
        "patch: expected a plain file whose path has no link, got {}: {error}",
        excerpt(&path.display().to_string())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("repo/d")).unwrap();
        std::fs::write(root.join("repo/d/f"), "text").unwrap();
        std::fs::write(root.join("secret"), "").unwrap();
        for (link, to) in [("repo/up", ".."), ("repo/file", "../secret"), ("link", "repo")] {
            std::os::unix::fs::symlink(to, root.join(link)).unwrap();
        }
        let tree = Tree::open(&root, &root.join("repo")).unwrap();
        assert_eq!(tree.read(Path::new("d/f"), 4).unwrap().unwrap().bytes, b"text");
        assert_eq!(tree.read(Path::new("d/none"), 4).unwrap(), None);
        assert_eq!(tree.read(Path::new("none/f"), 4).unwrap(), None);
        let file = File { bytes: Vec::new(), mode: 0o644 };
        for path in ["up/secret", "file", "d", "d/f/below"] {
            assert!(tree.read(Path::new(path), 4).is_err(), "{path}");
        }
        assert!(tree.read(Path::new("d/f"), 3).is_err(), "it is too large");
        for path in ["up/new", "up/deep/new", "d/f/new"] {
            assert!(tree.prepare(Path::new(path), &file, &mut Vec::new()).is_err(), "{path}");
        }
        assert!(tree.remove(Path::new("up/secret")).is_err());
        assert!(Tree::open(&root, &root.join("link")).is_err());
        // A link is replaced, not written through.
        let prepared = tree.prepare(Path::new("file"), &file, &mut Vec::new()).unwrap();
        tree.replace(&prepared).unwrap();
        assert!(root.join("repo/file").symlink_metadata().unwrap().is_file());
    }
}
