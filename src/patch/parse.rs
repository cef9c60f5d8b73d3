//! [`Patch`]: a patch whose paths have been checked.

use std::collections::BTreeSet;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use codex_gateway_engine::patch::CodexPatch;

use super::unified;
use crate::error::Error;
use crate::text::excerpt;

/// A patch whose paths have been checked.
#[derive(Debug)]
pub struct Patch {
    pub(super) text: String,
    pub(super) form: Form,
    /// Every path that the patch names, relative to the patched folder.
    pub(super) paths: BTreeSet<PathBuf>,
    /// Renames: from, to.
    pub(super) renames: Vec<(PathBuf, PathBuf)>,
}

#[derive(Debug)]
pub(super) enum Form {
    /// A unified diff. `strip` is the number of leading path components that are prefixes.
    Unified { strip: u8 },
    /// Codex's own form, `*** Begin Patch`.
    Codex(CodexPatch),
}

impl Patch {
    /// Parses a patch. Its first line decides which form it has.
    ///
    /// # Errors
    /// `InvalidRequest` if it is not a patch, or names a path outside its folder, inside `.git`,
    /// or of anything but a plain file.
    pub fn parse(text: String) -> Result<Self, Error> {
        let mut paths = BTreeSet::new();
        let mut renames = Vec::new();
        let form = if CodexPatch::is(&text) {
            let parsed =
                CodexPatch::parse(&text).map_err(|error| Error::from(error).at_field("patch"))?;
            for (path, moved) in parsed.paths() {
                let path = relative(&path.to_string_lossy())?;
                if let Some(moved) = moved {
                    let moved = relative(&moved.to_string_lossy())?;
                    paths.insert(moved.clone());
                    renames.push((path.clone(), moved));
                }
                paths.insert(path);
            }
            Form::Codex(parsed)
        } else {
            let touched = unified::touched(&text)?;
            for path in &touched.paths {
                paths.insert(relative(path)?);
            }
            for (from, to) in &touched.renames {
                renames.push((relative(from)?, relative(to)?));
            }
            Form::Unified { strip: touched.strip }
        };
        Ok(Self { text, form, paths, renames })
    }
}

/// Checks a path of a patch and normalises it.
fn relative(path: &str) -> Result<PathBuf, Error> {
    let refuse = |expected: &str| {
        Err(Error::invalid(format!("patch: expected {expected}, got {}", excerpt(path))))
    };
    let mut inside = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) if name.eq_ignore_ascii_case(".git") => {
                return refuse("no path in .git");
            }
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return refuse("paths inside repo_path");
            }
        }
    }
    if inside.as_os_str().is_empty() || path.ends_with('/') || path.contains('\0') {
        return refuse("paths of files");
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_stays_in_its_folder() {
        for (path, expected) in [
            ("a", Some("a")),
            ("./a/b", Some("a/b")),
            ("a/./b", Some("a/b")),
            (".gitignore", Some(".gitignore")),
            ("a.git/b", Some("a.git/b")),
            ("..", None),
            ("a/../b", None),
            ("/etc/passwd", None),
            (".git/config", None),
            ("sub/.GIT/hooks/x", None),
            ("", None),
            (".", None),
            ("a/", None),
        ] {
            let found = relative(path).ok();
            assert_eq!(found.as_deref(), expected.map(Path::new), "{path}");
        }
    }
}
