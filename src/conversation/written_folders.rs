//! The folders in which a command may have run, as appended JSON strings in a file that commands cannot
//! reach. Folders under a generated name are not in it: their names tell.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Kind;

/// The limit of folders. Each exists on disk, so a client that gets here has created as many.
const MAX_FOLDERS: usize = 100_000;
/// The number of lines from which the file is rewritten, if most folders no longer exist.
const REWRITE_FROM: usize = 10_000;

/// The folders. Without a file they last as long as the process.
#[derive(Debug, Default)]
pub struct WrittenFolders {
    file: Option<File>,
    folders: BTreeSet<PathBuf>,
}

impl WrittenFolders {
    /// Opens the file, or creates it. Folders that no longer exist are dropped.
    ///
    /// # Errors
    /// Propagates I/O errors.
    pub fn open(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        // A crash may have cut a line short; nothing ran in its folder yet.
        let folders = lines.clone().filter_map(|line| serde_json::from_slice::<PathBuf>(line).ok());
        let folders: BTreeSet<_> = folders.filter(|folder| folder.is_dir()).collect();
        if lines.count() > folders.len().saturating_mul(2).max(REWRITE_FROM) {
            let rewritten = path.with_extension("new");
            let mut file = File::create(&rewritten)?;
            for folder in &folders {
                file.write_all(&line_of(folder)?)?;
            }
            file.sync_all()?;
            std::fs::rename(&rewritten, path)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file: Some(file), folders })
    }

    /// Whether a command may have run in this folder.
    pub(super) fn contains(&self, folder: &Path) -> bool {
        self.folders.contains(folder) || is_generated(folder)
    }

    /// Records a folder before a command runs in it.
    ///
    /// # Errors
    /// `Overloaded` if there are too many; `Internal` if the file cannot be written.
    pub(super) fn insert(&mut self, folder: &Path) -> Result<(), Error> {
        if self.contains(folder) {
            return Ok(());
        }
        if self.folders.len() >= MAX_FOLDERS {
            self.folders.retain(|folder| folder.is_dir());
        }
        if self.folders.len() >= MAX_FOLDERS {
            return Err(Error::new(
                Kind::Overloaded,
                format!("cwd: {MAX_FOLDERS} folders are in use; name one of these, or none"),
            ));
        }
        let failed = |error: io::Error| {
            Error::new(Kind::Internal, format!("cwd: cannot record the folder: {error}"))
        };
        if let Some(file) = &mut self.file {
            // One short line into the page cache: less than a hop to another thread would cost.
            file.write_all(&line_of(folder).map_err(failed)?).map_err(failed)?;
        }
        self.folders.insert(folder.to_owned());
        Ok(())
    }
}

/// Between newlines: a line that was cut short spoils no other.
fn line_of(folder: &Path) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(folder)?;
    Ok(format!("\n{text}\n").into_bytes())
}

/// Whether the gateway has created the folder for a client that named none.
fn is_generated(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 36 && uuid::Uuid::try_parse(name).is_ok_and(|id| id.get_version_num() == 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_survive_a_restart_and_a_cut_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("folders.jsonl");
        let [kept, gone, late] = ["kept", "gone", "late"].map(|name| dir.path().join(name));
        for folder in [&kept, &gone, &late] {
            std::fs::create_dir(folder).unwrap();
        }
        let mut folders = WrittenFolders::open(&file).unwrap();
        folders.insert(&kept).unwrap();
        folders.insert(&gone).unwrap();
        std::fs::File::options().append(true).open(&file).unwrap().write_all(b"\n\"/cut").unwrap();
        folders.insert(&late).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        for _ in 0..2 {
            let folders = WrittenFolders::open(&file).unwrap();
            let held = [&kept, &gone, &late].map(|folder| folders.contains(folder));
            assert_eq!(held, [true, false, true]);
        }
    }

    #[test]
    fn generated_names_need_no_record() {
        let folder = Path::new("/r").join(uuid::Uuid::now_v7().to_string());
        assert!(WrittenFolders::default().contains(&folder));
        assert!(!WrittenFolders::default().contains(Path::new("/r/named")));
    }
}
