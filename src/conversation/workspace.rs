//! Where a conversation works: a folder of its own under the workspace root, or the one inside the
//! root that its `cwd` names.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Bound;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::MutexGuard;

use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

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
pub struct Claims(Mutex<Folders>);

#[derive(Debug, Default)]
struct Folders {
    /// Of conversations, for good. In order, a folder comes right before what is inside it.
    kept: BTreeSet<PathBuf>,
    /// Of one-off commands, with how many of them run there.
    visited: HashMap<PathBuf, usize>,
}

impl Folders {
    /// Whether a folder lies inside or around one in use.
    fn is_nested(&self, folder: &Path) -> bool {
        let inside = folder.ancestors().skip(1).any(|outer| self.kept.contains(outer));
        let next = self.kept.range::<Path, _>((Bound::Excluded(folder), Bound::Unbounded)).next();
        let around = next.is_some_and(|next| next.starts_with(folder));
        let nested = |other: &PathBuf| {
            other != folder && (other.starts_with(folder) || folder.starts_with(other))
        };
        inside || around || self.visited.keys().any(nested)
    }
}

impl Claims {
    /// The folders of conversations that are known.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let kept = folders.into_iter().collect();
        Self(Mutex::new(Folders { kept, ..Folders::default() }))
    }

    /// Takes a folder into use.
    ///
    /// # Errors
    /// It is the root, or lies inside or around another one in use.
    pub(super) fn claim(&self, root: &Path, folder: &Path) -> Result<(), Error> {
        self.free(root, folder)?.kept.insert(folder.to_owned());
        Ok(())
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        self.0.lock()
    }

    fn free(&self, root: &Path, folder: &Path) -> Result<MutexGuard<'_, Folders>, Error> {
        if folder == root {
            return Err(Error::invalid(
                "cwd: expected a folder inside the workspace root, got the root",
            ));
        }
        let folders = self.folders();
        if folders.is_nested(folder) {
            return Err(Error::invalid(
                "cwd: expected a folder that is not inside or around another conversation's",
            ));
        }
        Ok(folders)
    }
}

/// The folder of a one-off command, in use until this is dropped.
#[derive(Debug)]
pub struct Visit {
    folder: PathBuf,
    claims: Arc<Claims>,
    fresh: bool,
}

impl Visit {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut visits) =
            self.claims.folders().visited.entry(self.folder.clone())
        {
            *visits.get_mut() -= 1;
            if *visits.get() == 0 {
                visits.remove();
            }
        }
        if self.fresh {
            // It stays if the command left something in it.
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

/// A folder for a one-off command: the one that the client named, under the rules of a
/// conversation's, or a new one.
///
/// # Errors
/// As [`named`] and [`fresh`].
pub async fn visit(root: &Path, cwd: Option<&str>, claims: &Arc<Claims>) -> Result<Visit, Error> {
    let (folder, fresh) = match cwd {
        Some(cwd) => (resolved(root, cwd).await?, false),
        None => (made(root).await?, true),
    };
    *claims.free(root, &folder)?.visited.entry(folder.clone()).or_default() += 1;
    Ok(Visit { folder, claims: Arc::clone(claims), fresh })
}

/// A folder inside the root that is there.
///
/// # Errors
/// It is the root or lies outside, also by way of `..` or a symbolic link, or is not a folder.
/// `field` is what the client calls it.
pub async fn existing(root: &Path, path: &str, field: &'static str) -> Result<PathBuf, Error> {
    let wanted = root.join(path);
    let excerpt = crate::text::excerpt(path);
    let there = tokio::fs::canonicalize(&wanted).await.ok().filter(|there| there.is_dir());
    let inside = |path: &Path| path.starts_with(root) && path != root;
    match there {
        _ if wanted.components().any(|part| matches!(part, Component::ParentDir)) => {}
        Some(there) if inside(&there) => return Ok(there),
        None if inside(&wanted) => {
            return Err(Error::invalid(format!(
                "{field}: expected a folder that is there, got {excerpt}"
            )));
        }
        Some(_) | None => {}
    }
    Err(Error::invalid(format!(
        "{field}: expected a folder inside the workspace root, got {excerpt}"
    )))
}

/// A new folder for a conversation that names none.
///
/// # Errors
/// It cannot be made.
pub async fn fresh(root: &Path, claims: &Claims) -> Result<PathBuf, Error> {
    let path = made(root).await?;
    claims.claim(root, &path)?;
    Ok(path)
}

/// A new folder under a name of its own, in nobody's use yet.
pub(super) async fn made(root: &Path) -> Result<PathBuf, Error> {
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
    let folder = resolved(root, cwd).await?;
    claims.claim(root, &folder)?;
    Ok(folder)
}

async fn resolved(root: &Path, cwd: &str) -> Result<PathBuf, Error> {
    let (root, cwd) = (root.to_owned(), PathBuf::from(cwd));
    tokio::task::spawn_blocking(move || resolve(&root, &cwd))
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
            crate::text::excerpt(&cwd.display().to_string())
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
        let kept = ["/r/a/b", "/r/a-b/x", "/r/z"].map(PathBuf::from);
        let (root, claims) = (Path::new("/r"), Claims::new(kept));
        for (folder, allowed) in [
            ("/r", false),
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
            assert_eq!(claims.claim(root, Path::new(folder)).is_ok(), allowed, "{folder}");
        }
    }

    #[tokio::test]
    async fn a_commands_folder_is_in_use_until_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let root = prepare_root(dir.path()).unwrap();
        let claims = Arc::default();
        let first = visit(&root, Some("a/b"), &claims).await.unwrap();
        let second = visit(&root, Some("a/b"), &claims).await.unwrap();
        drop(first);
        assert!(claims.claim(&root, &root.join("a")).is_err(), "the second is still there");
        drop(second);
        assert!(claims.claim(&root, &root.join("a")).is_ok());
        assert!(visit(&root, Some("a/b"), &claims).await.is_err(), "now a conversation has it");
        let (empty, full) = (
            visit(&root, None, &claims).await.unwrap(),
            visit(&root, None, &claims).await.unwrap(),
        );
        std::fs::write(full.folder().join("result"), "").unwrap();
        let folders = [&empty, &full].map(|visit| visit.folder().to_owned());
        drop((empty, full));
        assert_eq!(folders.map(|folder| folder.exists()), [false, true]);
    }

    #[tokio::test]
    async fn a_folder_that_must_be_there_is_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = prepare_root(&dir.path().join("root")).unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink("a", root.join("in")).unwrap();
        for (path, expected) in [
            ("a/b", Ok("a/b")),
            ("in/b", Ok("a/b")),
            (".", Err("inside")),
            ("", Err("inside")),
            ("a/../..", Err("inside")),
            ("a/..", Err("inside")),
            ("out", Err("inside")),
            ("/etc", Err("inside")),
            ("/nowhere", Err("inside")),
            ("nowhere", Err("is there")),
            ("file", Err("is there")),
        ] {
            match (existing(&root, path, "repo_path").await, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, root.join(expected)),
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (found, _) => panic!("{path}: {found:?}"),
            }
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
