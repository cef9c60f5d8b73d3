//! The folders in which a command may have run, as appended JSON strings in a file that commands cannot
//! reach. Folders under a generated name are not in it: their names tell.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::record_file::RecordFile;
use super::record_status::RecordKind;
use super::record_status::RecordStatus;
use super::record_status::not_stored;
use crate::error::Error;
use crate::error::Kind;

/// The limit of folders. Each exists on disk, so a client that gets here has created as many.
const MAX_FOLDERS: usize = 100_000;
/// The number of lines from which the file is rewritten, if most folders no longer exist.
const REWRITE_FROM: usize = 10_000;

/// The folders. Without a file they last as long as the process.
#[derive(Debug, Default)]
pub struct WrittenFolders {
    file: Option<RecordFile>,
    folders: BTreeSet<PathBuf>,
}

impl WrittenFolders {
    /// Opens the file, or creates it. Folders that no longer exist are dropped.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn open(path: &Path, status: RecordStatus) -> io::Result<Self> {
        let (mut file, text) = RecordFile::open(path, status.clone())?;
        let mut folders = BTreeSet::new();
        let ends_whole = text.last().is_none_or(|last| *last == b'\n');
        let mut lines =
            text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            match serde_json::from_slice::<PathBuf>(line) {
                Ok(folder) if folder.is_dir() => {
                    folders.insert(folder);
                }
                Ok(_gone) => {}
                // A crash cut the last line short: nothing ran in its folder yet.
                Err(_) if lines.peek().is_none() && !ends_whole => {}
                Err(error) => {
                    status.add_damaged(RecordKind::Folder);
                    tracing::error!(%error, file = %path.display(), "a line is damaged");
                }
            }
        }
        if file.lines() > folders.len().saturating_mul(2).max(REWRITE_FROM) {
            let lines: io::Result<Vec<_>> = folders.iter().map(|folder| line_of(folder)).collect();
            if let Err(error) = lines.and_then(|lines| file.rewrite(lines.into_iter())) {
                tracing::warn!(%error, file = %path.display(), "the file could not be rewritten");
            }
        }
        Ok(Self { file: Some(file), folders })
    }

    /// The file, if the disk does not have all folders yet.
    pub(super) fn unsynced(&mut self) -> Option<File> {
        self.file.as_mut()?.unsynced()
    }

    /// Whether a command may have run in this folder.
    pub(super) fn contains(&self, folder: &Path) -> bool {
        self.folders.contains(folder) || is_generated(folder)
    }

    /// Records a folder before a command runs in it.
    ///
    /// # Errors
    /// `Overloaded` if there are too many; `InsufficientStorage` if the file cannot be written.
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
        if let Some(file) = &mut self.file {
            let line = line_of(folder);
            let written = line.and_then(|line| file.append(&line));
            written.map_err(|error| not_stored("cwd: the folder", &error))?;
        }
        self.folders.insert(folder.to_owned());
        Ok(())
    }
}

fn line_of(folder: &Path) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(folder)?;
    line.push(b'\n');
    Ok(line)
}

/// Whether the gateway has created the folder for a client that named none.
fn is_generated(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 36 && uuid::Uuid::try_parse(name).is_ok_and(|id| id.get_version_num() == 7)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn folders_survive_a_restart_and_a_cut_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("folders.jsonl");
        let [kept, gone, late] = ["kept", "gone", "late"].map(|name| dir.path().join(name));
        for folder in [&kept, &gone, &late] {
            std::fs::create_dir(folder).unwrap();
        }
        let mut folders = WrittenFolders::open(&file, RecordStatus::default()).unwrap();
        folders.insert(&kept).unwrap();
        folders.insert(&gone).unwrap();
        File::options().append(true).open(&file).unwrap().write_all(b"\"/cut").unwrap();
        let mut folders = WrittenFolders::open(&file, RecordStatus::default()).unwrap();
        folders.insert(&late).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        for _ in 0..2 {
            let folders = WrittenFolders::open(&file, RecordStatus::default()).unwrap();
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
