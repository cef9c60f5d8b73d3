//! Whether what an approval gives the agent stays inside its conversation's folder.
//!
//! Paths are judged by what they lead to at the moment of the decision, links and `..` resolved, as the
//! kernel would. Core confines what it writes by the path that was asked for, so a link that is
//! exchanged between the two is a matter of who else may write in the folder.

use std::ffi::OsStr;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::approval::Grants;

use super::workspaces::PROTECTED;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

/// The most links on the way of a path, as of Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Checks that grants stay inside a resolved folder, and outside of what the sandbox protects in it.
///
/// # Errors
/// `Forbidden` names the first grant that does not.
pub(super) async fn check(folder: PathBuf, grants: Grants) -> Result<(), Error> {
    if let Some(unbounded) = grants.unbounded {
        return Err(outside(&folder, unbounded));
    }
    let judged = tokio::task::spawn_blocking(move || {
        match grants.paths.iter().find(|path| !is_inside(&folder, path)) {
            Some(path) => Err(outside(&folder, &excerpt(&path.display().to_string()))),
            None => Ok(()),
        }
    });
    judged.await.map_err(|error| Error::new(Kind::Internal, error.to_string()))?
}

fn outside(folder: &Path, what: &str) -> Error {
    let folder = folder.display();
    Error::new(
        Kind::Forbidden,
        format!(
            "decision: expected denied or abort, because an approval must not give the agent {what}: \
             it may give access to {folder} only, without .git, .agents and .codex in it, unless the \
             operator sets gateway.allow_approvals_outside_workspace"
        ),
    )
}

/// Returns whether a path, as written and with its links resolved, lies in the folder.
fn is_inside(folder: &Path, path: &Path) -> bool {
    let path = folder.join(path);
    let inside = |path: &Path| {
        path.strip_prefix(folder).is_ok_and(|below| {
            below.components().all(|part| match part {
                Component::Normal(name) => !is_protected(name),
                Component::Prefix(_)
                | Component::RootDir
                | Component::CurDir
                | Component::ParentDir => false,
            })
        })
    };
    inside(&without_dots(&path)) && resolve(&path).is_some_and(|real| inside(&real))
}

/// Returns whether a name is protected, also on a file system that ignores case.
fn is_protected(name: &OsStr) -> bool {
    PROTECTED.iter().any(|protected| name.eq_ignore_ascii_case(protected))
}

/// Returns a path without `.` and `..`, as core reads it: links are not followed.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

/// Returns where a path leads, as the kernel reads it; what is missing in its end stays as it is.
/// `None` where it leads through too many links, or cannot be read.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut links = 0;
    let mut real = PathBuf::new();
    let mut left: Vec<PathBuf> = reversed(path);
    while let Some(part) = left.pop() {
        match part.components().next()? {
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir => real = part,
            Component::Normal(name) => {
                let next = real.join(name);
                match std::fs::symlink_metadata(&next) {
                    Ok(found) if found.is_symlink() => {
                        links += 1;
                        if links > MAX_LINKS {
                            return None;
                        }
                        left.extend(reversed(&std::fs::read_link(&next).ok()?));
                    }
                    Ok(_) => real = next,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => real = next,
                    Err(_) => return None,
                }
            }
        }
    }
    Some(real)
}

/// Returns the parts of a path, the last one first.
fn reversed(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_are_judged_where_they_lead() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let folder = root.join("w");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        std::fs::write(folder.join("file"), "").unwrap();
        symlink("sub", folder.join("in")).unwrap();
        symlink("../other", folder.join("out")).unwrap();
        symlink(&root, folder.join("up")).unwrap();
        symlink("../missing/x", folder.join("dangling")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        for (path, expected) in [
            (".", true),
            ("new", true),
            ("new/deep/file", true),
            ("sub/../file", true),
            ("in/new", true),
            ("up/w/file", true),
            ("./sub/./x", true),
            ("..", false),
            ("../other/x", false),
            ("sub/../../other/x", false),
            ("../w2/x", false),
            ("/etc/passwd", false),
            ("out/x", false),
            ("out", false),
            ("up/other/x", false),
            // The kernel goes up from where the link leads, core from where it stands.
            ("in/../x", true),
            ("out/../x", false),
            ("up/../x", false),
            ("dangling", false),
            ("loop/x", false),
            ("file/x", false),
            (".git/config", false),
            ("sub/.git/hooks/x", false),
            (".GIT/config", false),
            (".codex/config.toml", false),
            (".agents/skills/x/SKILL.md", false),
            ("sub/.gitignore", true),
        ] {
            assert_eq!(is_inside(&folder, Path::new(path)), expected, "{path}");
            let absolute = folder.join(path);
            assert_eq!(is_inside(&folder, &absolute), expected, "{}", absolute.display());
        }
        assert!(is_inside(&folder, &folder) && !is_inside(&folder, &root));
    }
}
