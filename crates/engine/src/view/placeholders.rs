//! Placeholders: empty folders where `.git`, `.agents` or `.codex` are missing in a folder that
//! commands write.
//!
//! Commands must not create these names, because other programs trust what they find there. A mount
//! keeps them from it, and a mount needs a folder to be on. The helper records each placeholder in
//! the view before it creates it; the gateway removes them, and only if they are empty, when no
//! process is left in the view: removing one also removes the mounts on it.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

/// The file of a view with the paths of its placeholders, a JSON string a line.
const RECORD: &str = "placeholders";

/// Creates a placeholder. Returns whether there is a folder to mount on: not where this user cannot
/// write, and so its commands cannot either.
///
/// # Errors
/// It cannot be recorded or created.
pub(super) fn create(view_dir: &Path, path: &Path) -> io::Result<bool> {
    let mut line = serde_json::to_vec(path)?;
    line.push(b'\n');
    File::options().append(true).create(true).open(view_dir.join(RECORD))?.write_all(&line)?;
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(true),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Ok(false),
            _ => Err(error),
        },
    }
}

/// Removes the placeholders of a view in which no process is left.
pub(super) fn remove(view_dir: &Path) {
    let record = std::fs::read(view_dir.join(RECORD)).unwrap_or_default();
    for line in record.split(|byte| *byte == b'\n') {
        let Ok(path) = serde_json::from_slice::<PathBuf>(line) else { continue };
        // Fails if it is not an empty folder.
        let _ = std::fs::remove_dir(path);
    }
}
