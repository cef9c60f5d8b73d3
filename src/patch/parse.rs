//! [`Patch`]: a patch whose paths have been checked.

use std::collections::BTreeSet;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use super::codex;
use super::section::Edit;
use super::section::Section;
use super::section::Tag;
use super::unified;
use crate::error::Error;
use crate::text::excerpt;

/// A patch whose paths have been checked.
#[derive(Debug)]
pub struct Patch {
    pub(super) text: String,
    pub(super) sections: Vec<Section>,
    /// Whether it is in codex's own form, rather than a unified diff.
    pub(super) is_codex: bool,
    /// Whether no hunk has a line of context, as `diff -U0` writes them: then line numbers tell the
    /// places.
    pub(super) is_bare: bool,
    /// Every path that the patch names, relative to the patched folder.
    pub(super) paths: BTreeSet<PathBuf>,
}

impl Patch {
    /// Parses a patch. Its first line decides which form it has.
    ///
    /// # Errors
    /// `InvalidRequest` if it is not a patch, or names a path outside its folder, inside `.git`,
    /// or of anything but a plain file.
    pub fn parse(mut text: String) -> Result<Self, Error> {
        if u32::try_from(text.len()).is_err() {
            return Err(Error::invalid("patch: expected at most 4 GiB"));
        }
        // Editors on Windows begin a file with a byte order mark.
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        let is_codex = codex::is(&text);
        let parse = if is_codex { codex::parse } else { unified::parse };
        let sections = parse(&text, relative)?;
        let paths = sections.iter().flat_map(Section::paths).map(Path::to_owned).collect();
        let is_bare = sections
            .iter()
            .filter_map(|section| match &section.edit {
                Edit::Hunks(hunks) => Some(hunks),
                Edit::Binary(_) => None,
            })
            .flatten()
            .flat_map(|hunk| &hunk.lines)
            .all(|line| line.tag != Tag::Context);
        Ok(Self { text, sections, is_codex, is_bare, paths })
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
