//! Where a conversation works: a folder of its own under the workspace root, or the one inside the
//! root that its `cwd` names.

use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

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
pub async fn named(root: &Path, cwd: &str) -> Result<PathBuf, Error> {
    let (root, cwd) = (root.to_owned(), PathBuf::from(cwd));
    tokio::task::spawn_blocking(move || resolve(&root, &cwd))
        .await
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?
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
