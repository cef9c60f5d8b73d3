//! The folders in use. One inside another is refused: a command in the outer one could replace the
//! inner one by a link to anywhere, and core gives the commands of the inner one write access to the
//! link's target. The same folder may be shared.
//!
//! Nothing begins strictly inside a folder in which a command may have run, also after the command
//! and after a restart: the sandbox protects `.git`, `.agents` and `.codex` only at the top of a
//! command's folder, so below it a command may have written them.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::written_folders::WrittenFolders;
use crate::error::Error;
use crate::sync::Mutex;

/// The folders in use.
#[derive(Debug, Default)]
pub(super) struct FolderLeases(Mutex<Folders>);

#[derive(Debug, Default)]
struct Folders {
    /// Folders of conversations, for good. In order, a folder comes right before those inside it.
    kept: BTreeSet<PathBuf>,
    /// Folders of one-off commands, with the number of commands.
    leased: HashMap<PathBuf, usize>,
    /// Folders in which a command may have run.
    written: WrittenFolders,
}

impl Folders {
    /// Whether a folder lies inside or around one in use.
    fn is_nested(&self, folder: &Path) -> bool {
        let inside = folder
            .ancestors()
            .skip(1)
            .any(|outer| self.kept.contains(outer) || self.written.contains(outer));
        let next = self.kept.range::<Path, _>((Bound::Excluded(folder), Bound::Unbounded)).next();
        let around = next.is_some_and(|next| next.starts_with(folder));
        let nested = |other: &PathBuf| {
            other != folder && (other.starts_with(folder) || folder.starts_with(other))
        };
        inside || around || self.leased.keys().any(nested)
    }
}

impl FolderLeases {
    /// Leases with the folders of stored conversations, and those in which commands have run.
    pub(super) fn new(kept: impl IntoIterator<Item = PathBuf>, written: WrittenFolders) -> Self {
        let kept = kept.into_iter().collect();
        Self(Mutex::new(Folders { kept, written, ..Folders::default() }))
    }

    /// Checks that a folder may be taken into use.
    ///
    /// # Errors
    /// `InvalidRequest` where it lies inside or around another one in use, or inside one in which a
    /// command has run.
    pub(super) fn check(&self, folder: &Path) -> Result<(), Error> {
        refuse_nested(&self.0.lock(), folder)
    }

    /// Takes a folder into use for good.
    ///
    /// # Errors
    /// `InvalidRequest` where it lies inside or around another one in use, or inside one in which a
    /// command has run; `Overloaded` and `Internal` where that cannot be recorded.
    pub(super) fn keep(&self, folder: &Path) -> Result<(), Error> {
        let mut folders = self.0.lock();
        refuse_nested(&folders, folder)?;
        folders.written.insert(folder)?;
        folders.kept.insert(folder.to_owned());
        Ok(())
    }

    /// The file of the folders, if the disk does not have all of them yet.
    pub(super) fn unsynced(&self) -> Option<File> {
        self.0.lock().written.unsynced()
    }

    /// Takes a folder into use until the result is dropped, which also removes the folder if it is `temporary`
    /// and empty.
    ///
    /// # Errors
    /// As of [`Self::keep`].
    pub(super) fn lease(
        self: &Arc<Self>,
        folder: PathBuf,
        temporary: bool,
    ) -> Result<LeasedDir, Error> {
        let mut folders = self.0.lock();
        refuse_nested(&folders, &folder)?;
        folders.written.insert(&folder)?;
        *folders.leased.entry(folder.clone()).or_default() += 1;
        Ok(LeasedDir { folder, leases: Arc::clone(self), temporary })
    }
}

fn refuse_nested(folders: &Folders, folder: &Path) -> Result<(), Error> {
    if folders.is_nested(folder) {
        return Err(Error::invalid(
            "cwd: expected a folder that is not inside or around another conversation's, and not \
             inside one in which a command has run; use that folder itself",
        ));
    }
    Ok(())
}

/// The folder of a one-off command, in use until it is dropped.
#[derive(Debug)]
pub struct LeasedDir {
    folder: PathBuf,
    leases: Arc<FolderLeases>,
    temporary: bool,
}

impl LeasedDir {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder was made for the command.
    pub fn is_temporary(&self) -> bool {
        self.temporary
    }
}

impl Drop for LeasedDir {
    fn drop(&mut self) {
        if let Entry::Occupied(mut leases) = self.leases.0.lock().leased.entry(self.folder.clone())
        {
            *leases.get_mut() -= 1;
            if *leases.get() == 0 {
                leases.remove();
            }
        }
        if self.temporary {
            // Fails if the command left something in it.
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_folder_is_refused() {
        let folders = ["/r/a/b", "/r/a-b/x", "/r/z"].map(PathBuf::from);
        let leases = FolderLeases::new(folders, WrittenFolders::default());
        for (folder, allowed) in [
            ("/r/a", false),
            ("/r/a/b/c", false),
            ("/r/a/b", true),
            ("/r/a/b-c", true),
            ("/r/a/c", true),
            ("/r/a-b", false),
            ("/r/a-b/x/y/z", false),
            ("/r/a-b/xy", true),
            ("/r/ab", true),
        ] {
            assert_eq!(leases.keep(Path::new(folder)).is_ok(), allowed, "{folder}");
        }
    }
}
