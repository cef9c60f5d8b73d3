//! A file of appended JSON lines that survives full disks, crashes and damage.
//!
//! - A line that could not be written whole is taken back, so that the next one does not continue
//!   it. If that fails too, the next append does it first.
//! - A file that cannot be opened for writing (a read-only home) is tried again at each append.
//! - A line reaches the kernel before the append returns, and the disk within a second
//!   ([`RecordFile::sync`]): a killed process loses nothing, a power failure loses a second.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use super::record_status::RecordStatus;

/// A file of records, one a line.
#[derive(Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
    /// `None` until it can be opened for writing.
    file: Option<File>,
    /// The end of the last whole line.
    end: u64,
    /// Whether something follows [`Self::end`] that must be removed first.
    torn: bool,
    /// The number of lines, outdated ones included.
    lines: usize,
    /// Whether the disk does not have all lines yet.
    dirty: bool,
    status: RecordStatus,
}

impl RecordFile {
    /// Opens the file, or creates it. Also returns its content. A home that cannot be written is no
    /// error: [`RecordStatus`] says so, and each append fails.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub(super) fn open(path: &Path, status: RecordStatus) -> io::Result<(Self, Vec<u8>)> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut this = Self {
            path: path.to_owned(),
            file: None,
            end: text.len() as u64,
            torn: false,
            lines: text.iter().filter(|byte| **byte == b'\n').count(),
            dirty: false,
            status,
        };
        // A crash cut the last line short. The next one starts on a line of its own.
        let started = match text.last() {
            Some(last) if *last != b'\n' => this.append(b"\n"),
            Some(_) | None => {
                let opened = this.check();
                this.status.report(&opened);
                opened
            }
        };
        if let Err(error) = started {
            tracing::error!(%error, file = %path.display(), "records cannot be written");
        }
        Ok((this, text))
    }

    /// Appends a line, given with its line feed. All of it or nothing.
    ///
    /// # Errors
    /// Propagates I/O errors: the line was not written.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let appended = self.try_append(line);
        self.status.report(&appended);
        appended
    }

    fn try_append(&mut self, line: &[u8]) -> io::Result<()> {
        let (end, torn) = (self.end, self.torn);
        let file = self.writable()?;
        if torn {
            file.set_len(end)?;
        }
        // One short line into the page cache: less than a hop to another thread would cost.
        let written = file.write_all(line);
        self.torn = written.is_err() && file.set_len(end).is_err();
        written?;
        self.end = end + line.len() as u64;
        self.lines += 1;
        self.dirty = true;
        Ok(())
    }

    fn writable(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            closed => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                let file = File::options().create(true).append(true).open(&self.path)?;
                Ok(closed.insert(file))
            }
        }
    }

    /// Fails if the file cannot be opened for writing.
    ///
    /// # Errors
    /// Propagates I/O errors.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.writable().map(|_| ())
    }

    /// The number of lines, outdated ones included.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// The file, if the disk does not have all lines yet. Sync its data, without a lock.
    pub(super) fn unsynced(&mut self) -> Option<File> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.file.as_ref()?.try_clone().ok()
    }

    /// Replaces the content. After a failure or a crash the old one is still there.
    ///
    /// # Errors
    /// Propagates I/O errors.
    pub(super) fn rewrite(&mut self, lines: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let rewritten = self.write_beside(&beside, lines);
        if rewritten.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        rewritten
    }

    fn write_beside(
        &mut self,
        beside: &Path,
        lines: impl Iterator<Item = Vec<u8>>,
    ) -> io::Result<()> {
        let mut file = io::BufWriter::new(File::create(beside)?);
        let (mut end, mut count) = (0, 0);
        for line in lines {
            file.write_all(&line)?;
            end += line.len() as u64;
            count += 1;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        // Opened before the rename: afterwards nothing may fail.
        let file = File::options().append(true).open(beside)?;
        std::fs::rename(beside, &self.path)?;
        (self.file, self.end, self.lines) = (Some(file), end, count);
        (self.torn, self.dirty) = (false, false);
        if let Some(folder) = self.path.parent() {
            // The rename itself; not every file system can.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    /// Keeps a copy of the file beside it, before damage in it is repaired.
    ///
    /// # Errors
    /// Propagates I/O errors.
    pub(super) fn keep_copy(&self) -> io::Result<PathBuf> {
        let time = chrono::Utc::now().format("%Y%m%dT%H%M%S");
        let copy = self.path.with_extension(format!("damaged-{time}"));
        std::fs::copy(&self.path, &copy)?;
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_a_cut_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/file");
        let (mut file, text) = RecordFile::open(&path, RecordStatus::default()).unwrap();
        assert!(text.is_empty());
        file.append(b"1\n").unwrap();
        std::fs::write(&path, "1\ncut").unwrap();
        let (mut file, text) = RecordFile::open(&path, RecordStatus::default()).unwrap();
        assert_eq!(text, b"1\ncut");
        file.append(b"2\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\ncut\n2\n");
    }

    #[test]
    fn rewritten_file_takes_further_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (mut file, _) = RecordFile::open(&path, RecordStatus::default()).unwrap();
        for _ in 0..3 {
            file.append(b"old\n").unwrap();
        }
        file.rewrite([b"new\n".to_vec()].into_iter()).unwrap();
        file.append(b"newer\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\nnewer\n");
        assert_eq!(file.lines(), 2);
    }

    #[test]
    fn torn_line_is_removed_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (mut file, _) = RecordFile::open(&path, RecordStatus::default()).unwrap();
        file.append(b"1\n").unwrap();
        // As after a write that failed half-way, where truncating failed too.
        std::fs::write(&path, "1\nhal").unwrap();
        file.torn = true;
        file.append(b"2\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n");
    }
}
