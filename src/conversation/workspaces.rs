//! Workspaces: a conversation works in a folder of its own under the workspace root, or in the one
//! inside the root that its `cwd` names. So do one-off commands and terminals.

use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

pub use super::folder_leases::LeasedDir;

use super::folder_leases::FolderLeases;
use super::record_status::is_storage_error;
use super::written_folders::WrittenFolders;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

/// Folders that the sandbox protects at the top of a command's folder: no command works in one.
pub(super) const PROTECTED: [&str; 3] = [".git", ".agents", ".codex"];

/// The workspace root and the folders in use.
#[derive(Debug, Clone)]
pub struct Workspaces {
    root: PathBuf,
    leases: Arc<FolderLeases>,
}

/// The working folder of a terminal.
#[derive(Debug)]
pub struct WorkingDir {
    /// The folder. It exists.
    pub folder: PathBuf,
    /// Whether it was created for the terminal, under a generated name.
    pub is_new: bool,
}

/// Creates and resolves the workspace root.
///
/// # Errors
/// Propagates I/O errors.
pub fn prepare_root(root: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(root)?;
    root.canonicalize()
}

impl Workspaces {
    /// Workspaces below a resolved root, with the folders of stored conversations and those in which
    /// commands have run.
    pub fn new(
        root: PathBuf,
        kept: impl IntoIterator<Item = PathBuf>,
        written: WrittenFolders,
    ) -> Self {
        Self { root, leases: Arc::new(FolderLeases::new(kept, written)) }
    }

    /// The resolved root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Brings the folders in use to the disk. Blocks.
    pub(super) fn sync(&self) {
        if let Some(file) = self.leases.unsynced()
            && let Err(error) = file.sync_data()
        {
            tracing::warn!(%error, "the folders in use could not be synced");
        }
    }

    /// Leases a folder to a one-off command: the one that the client named, under the rules of a
    /// conversation's, or a new one.
    ///
    /// # Errors
    /// As of [`Self::resolve`] and [`Self::create`].
    pub async fn lease(&self, cwd: Option<&str>) -> Result<LeasedDir, Error> {
        let (folder, temporary) = match cwd {
            Some(cwd) => {
                self.check_named(cwd).await?;
                (self.mkdir_named(cwd).await?, false)
            }
            None => (self.mkdir().await?, true),
        };
        self.leases.lease(folder, temporary)
    }

    /// The working folder of a terminal: the conversation's, the one that `cwd` names, or a new
    /// one.
    ///
    /// # Errors
    /// `InvalidRequest` where `cwd` is not the conversation's folder; `Forbidden` where that folder
    /// has become a link; as of [`Self::resolve`] and [`Self::create`].
    pub async fn working_dir(
        &self,
        conversation: Option<&Path>,
        cwd: Option<&str>,
    ) -> Result<WorkingDir, Error> {
        let (folder, is_new) = match (conversation, cwd) {
            (Some(folder), _) => {
                self.verify(folder).await?;
                if cwd.is_some_and(|cwd| !self.is_same(cwd, folder)) {
                    return Err(Error::invalid(format!(
                        "cwd: expected the conversation's folder, {}, or none beside its name",
                        folder.display()
                    )));
                }
                (folder.to_owned(), false)
            }
            (None, Some(cwd)) => (self.resolve(cwd).await?, false),
            (None, None) => (self.create().await?, true),
        };
        Ok(WorkingDir { folder, is_new })
    }

    /// A folder inside the root that exists. `field` is the client's name for `path`.
    ///
    /// # Errors
    /// `InvalidRequest` where it is the root or lies outside, also by way of `..` or a symbolic
    /// link, or is not a folder.
    pub async fn existing(&self, path: &str, field: &'static str) -> Result<PathBuf, Error> {
        let named = self.root.join(path);
        let excerpt = excerpt(path);
        let resolved = tokio::fs::canonicalize(&named).await.ok().filter(|path| path.is_dir());
        let inside = |path: &Path| path.starts_with(&self.root) && path != self.root;
        match resolved {
            _ if named.components().any(|part| matches!(part, Component::ParentDir)) => {}
            Some(resolved) if inside(&resolved) => return Ok(resolved),
            None if inside(&named) => {
                return Err(Error::invalid(format!(
                    "{field}: expected an existing folder, got {excerpt}"
                )));
            }
            Some(_) | None => {}
        }
        Err(Error::invalid(format!(
            "{field}: expected a folder inside the workspace root, got {excerpt}"
        )))
    }

    /// Creates a folder for a conversation that names none.
    ///
    /// # Errors
    /// `Internal` where it cannot be created.
    pub(super) async fn create(&self) -> Result<PathBuf, Error> {
        let folder = self.mkdir().await?;
        self.keep(&folder)?;
        Ok(folder)
    }

    /// Takes a folder into use for good.
    ///
    /// # Errors
    /// `InvalidRequest` where it is the root, or lies inside or around another one in use.
    pub(super) fn keep(&self, folder: &Path) -> Result<(), Error> {
        self.leases.keep(folder)
    }

    /// Creates a folder under a generated name. It is not in use yet.
    pub(super) async fn mkdir(&self) -> Result<PathBuf, Error> {
        let path = self.root.join(uuid::Uuid::now_v7().to_string());
        tokio::fs::create_dir(&path).await.map_err(|error| cannot_create(&path, &error))?;
        Ok(path)
    }

    /// The folder that a client named: relative to the root, or absolute and inside it. Created
    /// where it is missing.
    ///
    /// # Errors
    /// `InvalidRequest` where it is the root or lies outside, also by way of `..` or a symbolic
    /// link, is not a folder, or lies inside or around another one in use.
    pub(super) async fn resolve(&self, cwd: &str) -> Result<PathBuf, Error> {
        self.check_named(cwd).await?;
        let folder = self.mkdir_named(cwd).await?;
        self.keep(&folder)?;
        Ok(folder)
    }

    /// Checks that the folder that a client names may be used, before any of it is created.
    async fn check_named(&self, cwd: &str) -> Result<(), Error> {
        let (root, cwd) = (self.root.clone(), PathBuf::from(cwd));
        let folder = tokio::task::spawn_blocking(move || locate_inside(&root, &cwd))
            .await
            .map_err(|error| Error::new(Kind::Internal, error.to_string()))??;
        if folder == self.root {
            return Err(root_named());
        }
        self.leases.check(&folder)
    }

    /// Whether a client's `cwd` names this folder. Creates nothing.
    pub(super) fn is_same(&self, cwd: &str, folder: &Path) -> bool {
        self.root.join(cwd).canonicalize().is_ok_and(|named| named == folder)
    }

    /// Verifies a conversation's folder before it is used again: it exists, and is not a link.
    ///
    /// # Errors
    /// `Forbidden` where it has become a link; `Internal` where it cannot be created again.
    pub(super) async fn verify(&self, folder: &Path) -> Result<(), Error> {
        let replaced = || {
            Error::new(
                Kind::Forbidden,
                "cwd: the conversation's folder has been replaced by a link",
            )
        };
        // Nothing is created by way of a link.
        let existing = folder.ancestors().find(|path| path.symlink_metadata().is_ok());
        if existing.is_none_or(|path| path.canonicalize().ok().as_deref() != Some(path)) {
            return Err(replaced());
        }
        tokio::fs::create_dir_all(folder).await.map_err(|error| cannot_create(folder, &error))?;
        let real =
            tokio::fs::canonicalize(folder).await.map_err(|error| cannot_create(folder, &error))?;
        if real == folder && folder.starts_with(&self.root) {
            return Ok(());
        }
        Err(replaced())
    }

    async fn mkdir_named(&self, cwd: &str) -> Result<PathBuf, Error> {
        let (root, cwd) = (self.root.clone(), PathBuf::from(cwd));
        let folder = tokio::task::spawn_blocking(move || mkdir_inside(&root, &cwd))
            .await
            .map_err(|error| Error::new(Kind::Internal, error.to_string()))??;
        if folder == self.root {
            return Err(root_named());
        }
        Ok(folder)
    }
}

/// Returns where the folder that a client names is, or would be created, with its links resolved.
fn locate_inside(root: &Path, cwd: &Path) -> Result<PathBuf, Error> {
    let outside = || outside(cwd);
    if cwd.components().any(|part| matches!(part, Component::ParentDir)) {
        return Err(outside());
    }
    if cwd.components().any(|part| PROTECTED.iter().any(|name| part.as_os_str() == *name)) {
        return Err(Error::invalid(format!(
            "cwd: expected a folder not in .git, .agents or .codex, which commands must not write, got {}",
            excerpt(&cwd.display().to_string())
        )));
    }
    let named = root.join(cwd);
    // The existing part of the path must be inside the root, with its links resolved, before the
    // missing part is created.
    let existing = named.ancestors().find(|path| path.symlink_metadata().is_ok());
    let existing = existing.ok_or_else(outside)?;
    let missing = named.strip_prefix(existing).map_err(|_| outside())?;
    let existing = existing.canonicalize().map_err(|_| outside())?;
    if !existing.starts_with(root) {
        return Err(outside());
    }
    Ok(existing.join(missing))
}

fn root_named() -> Error {
    Error::invalid("cwd: expected a folder inside the workspace root, got the root")
}

fn outside(cwd: &Path) -> Error {
    Error::invalid(format!(
        "cwd: expected a folder inside the workspace root, got {}",
        excerpt(&cwd.display().to_string())
    ))
}

/// Creates a folder below the root, or the root itself, and resolves its links.
fn mkdir_inside(root: &Path, cwd: &Path) -> Result<PathBuf, Error> {
    let outside = || outside(cwd);
    locate_inside(root, cwd)?;
    let named = root.join(cwd);
    std::fs::create_dir_all(&named).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
            Error::invalid("cwd: expected a folder, got a file")
        }
        _ => cannot_create(&named, &error),
    })?;
    let created = named.canonicalize().map_err(|error| cannot_create(&named, &error))?;
    let below = created.strip_prefix(root).map_err(|_| outside())?;
    // By way of a link.
    if below.components().any(|part| PROTECTED.iter().any(|name| part.as_os_str() == *name)) {
        return Err(outside());
    }
    Ok(created)
}

fn cannot_create(path: &Path, error: &std::io::Error) -> Error {
    let kind = if is_storage_error(error) { Kind::InsufficientStorage } else { Kind::Internal };
    Error::new(kind, format!("cannot create the folder {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspaces(root: &Path) -> Workspaces {
        Workspaces::new(prepare_root(root).unwrap(), [], WrittenFolders::default())
    }

    #[tokio::test]
    async fn commands_folder_is_in_use_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = workspaces(dir.path());
        let outer = workspaces.root().join("a");
        let first = workspaces.lease(Some("a/b")).await.unwrap();
        let second = workspaces.lease(Some("a/b")).await.unwrap();
        drop(first);
        assert!(workspaces.keep(&outer).is_err(), "the second is still there");
        drop(second);
        assert!(workspaces.keep(&outer).is_ok());
        assert!(workspaces.lease(Some("a/b")).await.is_err(), "now a conversation has it");
    }

    #[tokio::test]
    async fn only_an_empty_temporary_folder_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = workspaces(dir.path());
        let empty = workspaces.lease(None).await.unwrap();
        let full = workspaces.lease(None).await.unwrap();
        std::fs::write(full.folder().join("result"), "").unwrap();
        let folders = [&empty, &full].map(|leased| leased.folder().to_owned());
        drop((empty, full));
        assert_eq!(folders.map(|folder| folder.exists()), [false, true]);
    }

    #[tokio::test]
    async fn existing_folder_is_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = workspaces(&dir.path().join("root"));
        let root = workspaces.root();
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
            ("nowhere", Err("existing")),
            ("file", Err("existing")),
        ] {
            match (workspaces.existing(path, "repo_path").await, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, root.join(expected)),
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (found, _) => panic!("{path}: {found:?}"),
            }
        }
    }

    #[tokio::test]
    async fn cwd_stays_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = workspaces(&dir.path().join("root"));
        let root = workspaces.root();
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
            (".", None),
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
            ("there/.git", None),
            (".codex/new", None),
        ] {
            let created = workspaces.mkdir_named(cwd).await.ok();
            let expected = expected.map(|path| root.join(path).canonicalize().unwrap());
            assert_eq!(created, expected, "{cwd}");
        }
        assert!(!dir.path().join("x").exists());
    }
}
