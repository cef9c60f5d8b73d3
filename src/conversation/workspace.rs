//! Where a conversation works: a folder of its own under the workspace root, or the one inside the
//! root that its `cwd` names.

use std::collections::HashSet;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::Error;
use crate::error::Kind;

/// The root, made and resolved.
///
/// # Errors
/// It cannot be made.
pub fn prepare_root(root: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(root)?;
    root.canonicalize()
}

/// The folders in use. One inside another is refused: whoever works in the outer one could replace
/// the inner one by a link to anywhere, and core gives the commands of the inner one write access to
/// what its path leads to. The same folder may be shared.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashSet<PathBuf>>);

impl Claims {
    /// The folders of conversations that are known.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(Mutex::new(folders.into_iter().collect()))
    }

    /// Takes a folder into use.
    ///
    /// # Errors
    /// It is the root, or lies inside or around another one in use.
    fn claim(&self, root: &Path, folder: &Path) -> Result<(), Error> {
        if folder == root {
            return Err(Error::invalid(
                "cwd: expected a folder inside the workspace root, got the root",
            ));
        }
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nested = |other: &PathBuf| {
            other != folder && (other.starts_with(folder) || folder.starts_with(other))
        };
        if claims.iter().any(nested) {
            return Err(Error::invalid(
                "cwd: expected a folder that is not inside or around another conversation's",
            ));
        }
        claims.insert(folder.to_owned());
        Ok(())
    }
}

/// A new folder for a conversation that names none.
///
/// # Errors
/// It cannot be made.
pub async fn fresh(root: &Path) -> Result<PathBuf, Error> {
    let path = root.join(uuid::Uuid::now_v7().to_string());
    tokio::fs::create_dir(&path).await.map_err(|error| cannot_make(&path, &error))?;
    Ok(path)
}

/// The folder that a client named: relative to the root, or absolute and inside it. Made where it
/// is missing.
///
/// # Errors
/// It lies outside the root, also by way of `..` or a symbolic link, or is not a folder.
pub async fn named(root: &Path, cwd: &str, claims: &Arc<Claims>) -> Result<PathBuf, Error> {
    let (root, cwd, claims) = (root.to_owned(), PathBuf::from(cwd), Arc::clone(claims));
    let resolve = move || {
        let folder = resolve(&root, &cwd)?;
        claims.claim(&root, &folder)?;
        Ok(folder)
    };
    tokio::task::spawn_blocking(resolve)
        .await
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?
}

/// Whether a client's `cwd` names this folder. Makes nothing.
pub fn is_same(root: &Path, cwd: &str, folder: &Path) -> bool {
    root.join(cwd).canonicalize().is_ok_and(|named| named == folder)
}

/// A conversation's folder, before it is worked in again: it is still there, and still itself.
///
/// # Errors
/// It has become a link, or cannot be made again.
pub async fn revisit(root: &Path, folder: &Path) -> Result<(), Error> {
    tokio::fs::create_dir_all(folder).await.map_err(|error| cannot_make(folder, &error))?;
    let real =
        tokio::fs::canonicalize(folder).await.map_err(|error| cannot_make(folder, &error))?;
    if real == folder && folder.starts_with(root) {
        return Ok(());
    }
    Err(Error::new(Kind::Forbidden, "cwd: the conversation's folder has been replaced by a link"))
}

fn resolve(root: &Path, cwd: &Path) -> Result<PathBuf, Error> {
    let outside = || {
        Error::invalid(format!(
            "cwd: expected a folder inside the workspace root, got {}",
            super::id::excerpt(&cwd.display().to_string())
        ))
    };
    if cwd.components().any(|part| matches!(part, Component::ParentDir)) {
        return Err(outside());
    }
    let wanted = root.join(cwd);
    // What exists of the path decides, with its links followed; only then is the rest made.
    let existing = wanted.ancestors().find(|path| path.symlink_metadata().is_ok());
    let existing = existing.and_then(|path| path.canonicalize().ok()).ok_or_else(outside)?;
    if !existing.starts_with(root) {
        return Err(outside());
    }
    std::fs::create_dir_all(&wanted).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
            Error::invalid("cwd: expected a folder, and that is a file")
        }
        _ => cannot_make(&wanted, &error),
    })?;
    let made = wanted.canonicalize().map_err(|error| cannot_make(&wanted, &error))?;
    if made.starts_with(root) { Ok(made) } else { Err(outside()) }
}

fn cannot_make(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Internal, format!("cannot make the folder {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_conversations_folder_is_not_inside_anothers() {
        let (root, claims) = (Path::new("/r"), Claims::new([PathBuf::from("/r/a/b")]));
        for (folder, allowed) in [
            ("/r", false),
            ("/r/a", false),
            ("/r/a/b/c", false),
            ("/r/a/b", true),
            ("/r/a/c", true),
            ("/r/ab", true),
        ] {
            assert_eq!(claims.claim(root, Path::new(folder)).is_ok(), allowed, "{folder}");
        }
    }

    #[test]
    fn a_cwd_stays_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = prepare_root(&dir.path().join("root")).unwrap();
        std::fs::create_dir(root.join("there")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink(root.join("there"), root.join("in")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
        let inside = root.join("there").display().to_string();
        for (cwd, expected) in [
            ("there", Some("there")),
            ("new/deep", Some("new/deep")),
            (inside.as_str(), Some("there")),
            ("in", Some("there")),
            (".", Some("")),
            ("..", None),
            ("there/../../x", None),
            ("/", None),
            ("/etc", None),
            ("out", None),
            ("out/root/there", Some("there")),
            ("out/elsewhere", None),
            ("dangling", None),
            ("file", None),
            ("file/below", None),
        ] {
            let resolved = resolve(&root, Path::new(cwd)).ok();
            assert_eq!(
                resolved,
                expected.map(|path| root.join(path).canonicalize().unwrap()),
                "{cwd}"
            );
        }
        assert!(!dir.path().join("x").exists());
    }
}
