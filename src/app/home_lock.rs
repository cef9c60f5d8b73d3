//! The lock of a codex home: two gateways on one home would overwrite each other's records.

use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use anyhow::bail;

/// Holds the lock until it is dropped. The kernel releases it with the process, also after SIGKILL;
/// programs that the gateway starts do not inherit it.
#[derive(Debug)]
pub(super) struct HomeLock {
    /// `None` where the home cannot be locked.
    file: Option<File>,
}

impl HomeLock {
    /// Takes the lock of a home, and writes the process id into it.
    ///
    /// # Errors
    /// Another process has it; the error names the process.
    pub(super) fn take(codex_home: &Path) -> anyhow::Result<Self> {
        let path = codex_home.join("gateway").join("lock");
        let mut file = match open(&path) {
            Ok(file) => file,
            Err(error) if is_read_only(&error) => {
                tracing::error!(
                    %error, home = %codex_home.display(),
                    "CODEX_HOME cannot be written: conversations can neither be started nor \
                     continued; mount it writable, or set CODEX_HOME to another folder"
                );
                return Ok(Self { file: None });
            }
            Err(error) => return Err(error).context(format!("cannot open {}", path.display())),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                let owner = owner.trim().parse::<u32>();
                let owner = owner.map(|id| format!(" (process {id})")).unwrap_or_default();
                bail!(
                    "CODEX_HOME: expected a folder that no other gateway uses, got {}, which \
                     another one{owner} uses; stop that one, send it the request, or set CODEX_HOME \
                     to another folder",
                    codex_home.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                tracing::warn!(
                    %error, home = %codex_home.display(),
                    "the file system of CODEX_HOME has no locks: make sure that only one gateway \
                     uses this folder"
                );
                return Ok(Self { file: None });
            }
        }
        // For the message above only: a full disk is no reason not to start.
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::warn!(%error, "the process id cannot be written into the lock");
        }
        Ok(Self { file: Some(file) })
    }

    /// Holds the lock as long as the process lives: core writes until its very end.
    pub(super) fn hold_until_exit(self) {
        std::mem::forget(self.file);
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Read and append: a lock over NFS needs a file that is open for writing.
    File::options().create(true).read(true).append(true).open(path)
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_names_the_first_process() {
        let home = tempfile::tempdir().unwrap();
        let first = HomeLock::take(home.path()).unwrap();
        let error = HomeLock::take(home.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        HomeLock::take(home.path()).unwrap();
    }

    #[test]
    fn lock_of_a_dead_process_is_free() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("gateway")).unwrap();
        std::fs::write(home.path().join("gateway/lock"), "4000000000\n").unwrap();
        HomeLock::take(home.path()).unwrap();
    }
}
