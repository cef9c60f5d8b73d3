//! Stands in for `codex-git-utils`: finds repositories by their paths, and never runs git.
//!
//! Core asks this crate about the folder of every turn: its commit, its remotes, whether it has
//! changes. The original answers by running `git` outside the sandbox with the process's whole
//! environment. A repository says itself which programs git runs (`filter.*.clean`, `textconv`,
//! `core.sshCommand`, includes that block), and in a gateway a command, a model or a clone may have
//! written it: that would be any code, with every key of the operator. The answers are metadata of a
//! turn and of a recording, and optional; so nothing here starts a process or follows what a
//! repository says. What is left is the search for a folder that holds `.git`.
//!
//! Left out with git: gix and the crates below it.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use codex_file_system::ExecutorFileSystem;
pub use codex_protocol::protocol::GitSha;
use codex_utils_absolute_path::AbsolutePathBuf;
use codex_utils_path_uri::PathUri;
use serde::Deserialize;
use serde::Serialize;

/// The file or folder that makes a folder a repository.
const MARKER: &str = ".git";

/// Metadata of a repository, as recordings hold it. Always absent here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GitInfo {
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_hash: Option<GitSha>,
    /// The branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The URL of a remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_url: Option<String>,
}

/// The reason that nothing could be read from a repository.
#[derive(Debug, thiserror::Error)]
pub enum GitToolingError {
    /// Git is not run here.
    #[error("the gateway does not run git outside the sandbox")]
    NotRun,
}

/// Returns the nearest folder at or above `base` that holds `.git`.
pub fn get_git_repo_root(base: &Path) -> Option<PathBuf> {
    let start = if base.is_dir() { base } else { base.parent()? };
    let found = start.ancestors().find(|folder| folder.join(MARKER).symlink_metadata().is_ok());
    found.map(Path::to_owned)
}

/// Returns the nearest folder at or above `cwd` that holds `.git`, by the file system of an
/// environment.
pub async fn get_git_repo_root_with_fs(
    fs: &dyn ExecutorFileSystem,
    cwd: &AbsolutePathBuf,
) -> Option<AbsolutePathBuf> {
    let mut folder = Some(cwd.clone());
    while let Some(here) = folder {
        let marker = PathUri::from_abs_path(&here.join(MARKER));
        if fs.get_metadata(&marker, None).await.is_ok() {
            return Some(here);
        }
        folder = here.parent();
    }
    None
}

/// Returns the repository whose trust counts for `cwd`: the nearest one. The original reads the
/// `.git` file of a worktree and trusts where it points, which a command may have written.
pub async fn resolve_root_git_project_for_trust(
    fs: &dyn ExecutorFileSystem,
    cwd: &AbsolutePathBuf,
) -> Option<AbsolutePathBuf> {
    get_git_repo_root_with_fs(fs, cwd).await
}

/// Returns no metadata: git is not run.
pub async fn collect_git_info(_cwd: &Path) -> Option<GitInfo> {
    None
}

/// Returns no remotes: git is not run.
pub async fn get_git_remote_urls_assume_git_repo(_cwd: &Path) -> Option<BTreeMap<String, String>> {
    None
}

/// Returns no commit: git is not run.
pub async fn get_head_commit_hash(_cwd: &Path) -> Option<GitSha> {
    None
}

/// Returns that it is not known whether there are changes: git is not run.
pub async fn get_has_changes(_cwd: &Path) -> Option<bool> {
    None
}

/// Returns no canonical form: without remotes there is nothing to compare.
pub fn canonicalize_git_remote_url(_url: &str) -> Option<String> {
    None
}

/// Returns no merge base: core then has the agent find it, in the sandbox.
///
/// # Errors
/// None.
pub fn merge_base_with_head(
    _repository: &Path,
    _branch: &str,
) -> Result<Option<String>, GitToolingError> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_folder_with_git_is_the_root() {
        let home = tempfile::tempdir().unwrap();
        let inner = home.path().join("outer/inner/src");
        std::fs::create_dir_all(&inner).unwrap();
        // A folder above the temporary one may be a repository of somebody's.
        let above = get_git_repo_root(&inner);
        assert!(above.is_none_or(|root| !root.starts_with(home.path())));
        std::fs::create_dir(home.path().join("outer/.git")).unwrap();
        assert_eq!(get_git_repo_root(&inner), Some(home.path().join("outer")));
        std::fs::write(home.path().join("outer/inner/.git"), "gitdir: elsewhere").unwrap();
        assert_eq!(get_git_repo_root(&inner), Some(home.path().join("outer/inner")));
        std::fs::write(inner.join("main.rs"), "").unwrap();
        assert_eq!(
            get_git_repo_root(&inner.join("main.rs")),
            Some(home.path().join("outer/inner"))
        );
    }

    #[tokio::test]
    async fn repositories_are_never_asked() {
        let repository = tempfile::tempdir().unwrap();
        std::fs::create_dir(repository.path().join(".git")).unwrap();
        let config = "[filter \"x\"]\n\tclean = touch ran\n[include]\n\tpath = /dev/stdin\n";
        std::fs::write(repository.path().join(".git/config"), config).unwrap();
        let path = repository.path();
        assert!(collect_git_info(path).await.is_none());
        assert!(get_has_changes(path).await.is_none());
        assert!(get_head_commit_hash(path).await.is_none());
        assert!(get_git_remote_urls_assume_git_repo(path).await.is_none());
        assert_eq!(merge_base_with_head(path, "main").unwrap(), None);
        assert!(!path.join("ran").exists());
    }
}
