//! Files and folders below the workspace root, opened without following a link. What a command has
//! written cannot redirect such a path.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Does not wait for the writer of a pipe.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the folders from `root`, whose own path is trusted, down to `folder`, both included.
///
/// # Errors
/// `folder` is not below `root`, or its path has a link.
pub(super) fn folders(root: &Path, folder: &Path) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
    let below = folder.strip_prefix(root).map_err(io::Error::other)?;
    let mut path = root.to_owned();
    let mut opened = vec![(path.clone(), rustix::fs::open(root, FOLDER, Mode::empty())?)];
    for part in below.components() {
        path.push(part);
        let Some((_, outer)) = opened.last() else { break };
        let inner = rustix::fs::openat(outer, part.as_os_str(), FOLDER, Mode::empty())?;
        opened.push((path.clone(), inner));
    }
    Ok(opened)
}

/// Whether a folder holds an entry of this name, of any kind.
pub(super) fn exists(folder: impl AsFd, name: &str) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Opens a plain file.
///
/// # Errors
/// It is a link or another kind of file, or cannot be opened.
pub(super) fn open_file(folder: impl AsFd, name: &str) -> io::Result<File> {
    let file =
        rustix::fs::openat(folder, name, FILE, Mode::empty()).map_err(|error| match error {
            Errno::LOOP => io::Error::other("expected a plain file, got a link"),
            other => other.into(),
        })?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::other(format!("expected a plain file, got {kind:?}")));
    }
    Ok(file.into())
}
