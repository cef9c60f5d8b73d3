//! Parses unified diffs: of git with and without prefixes, `diff`, Subversion and Mercurial.
//!
//! Links and submodules are refused, and so is what is no diff but looks like a part of one.

mod hunks;
mod lines;
mod names;

use std::path::PathBuf;

pub(super) use self::hunks::Ranges;
use self::lines::Lines;
pub(super) use self::lines::error_at;
use self::names::NOWHERE;
use super::section::Action;
use super::section::Binary;
use super::section::Edit;
use super::section::Hunk;
use super::section::Place;
use super::section::Section;
use super::section::Span;
use super::section::Tag;
use crate::error::Error;
use crate::text::excerpt;

/// Parses a diff. `relative` checks a path.
///
/// # Errors
/// `InvalidRequest` names the line and the reason.
pub(super) fn parse(
    text: &str,
    relative: fn(&str) -> Result<PathBuf, Error>,
) -> Result<Vec<Section>, Error> {
    let mut lines = Lines::new(text);
    let mut files = Vec::new();
    while let Some(line) = lines.peek_header() {
        if line.starts_with("diff --git ") {
            files.push(git_file(&mut lines)?);
        } else if hunks::at_names(&lines) {
            files.push(plain_file(&mut lines)?);
        } else if Ranges::parse(line).is_some() {
            return Err(lines.error("expected the names of a file (`---`, `+++`) before this hunk"));
        } else if is_binary(line) {
            return Err(
                lines.error("expected the content of a binary file; use `git diff --binary`")
            );
        } else {
            lines.next();
        }
    }
    if files.is_empty() {
        return Err(Error::invalid(
            "patch: expected a unified diff (with `---` and `+++`, or `diff --git`), or codex's \
             form, which begins with `*** Begin Patch`",
        ));
    }
    let by_others = files.iter().filter_map(FileDiff::has_prefixes).all(|prefixed| prefixed);
    files.into_iter().map(|file| file.section(by_others, relative)).collect()
}

fn is_binary(line: &str) -> bool {
    line.starts_with("Binary files ") && line.ends_with(" differ")
}

/// A file in a diff, with its names as written.
#[derive(Debug, Default)]
struct FileDiff {
    /// The line of the patch at which it begins.
    line: usize,
    /// The two names of `diff --git`, if they can be told apart.
    both: Option<(String, String)>,
    /// The names of `---` and `+++`; [`NOWHERE`] if there is no file.
    names: Option<(String, String)>,
    /// The names of a rename or a copy, which have no prefix.
    moved: Option<(String, String)>,
    copied: bool,
    added: bool,
    deleted: bool,
    /// Whether the header says so, rather than a time.
    git: bool,
    executable: Option<bool>,
    /// The object names before and after.
    index: Option<(String, String)>,
    hunks: Vec<Hunk>,
    binary: Option<Binary>,
}

/// Reads a file without a `diff --git` line.
fn plain_file(lines: &mut Lines<'_>) -> Result<FileDiff, Error> {
    let line = lines.number();
    let mut name = |prefix| {
        let header = lines.peek_header().and_then(|line| line.strip_prefix(prefix));
        lines.next();
        names::dated(header.unwrap_or_default())
    };
    let (old, new) = (name("--- "), name("+++ "));
    let hunks = hunks::read(lines)?;
    // A file that a note or a time calls missing exists nonetheless where the hunk needs it.
    let (old_lines, new_lines) = hunks.iter().fold((0, 0), |(old, new), hunk| {
        let counts = hunk.counts();
        (old + counts.0, new + counts.1)
    });
    let added = old.missing && (old.name == NOWHERE || old_lines == 0);
    let deleted = new.missing && (new.name == NOWHERE || new_lines == 0);
    let names = Some((old.name, new.name));
    Ok(FileDiff { line, names, added, deleted, hunks, ..FileDiff::default() })
}

/// Reads a file that begins with a `diff --git` line.
fn git_file(lines: &mut Lines<'_>) -> Result<FileDiff, Error> {
    let mut file = FileDiff { line: lines.number(), git: true, ..FileDiff::default() };
    let header = lines.peek_header().unwrap_or_default();
    let mut both = names::both(header.trim_start_matches("diff --git ")).into_iter();
    file.both = both.next().zip(both.next());
    lines.next();
    while let Some(line) = lines.peek_header() {
        if hunks::at_names(lines) {
            let mut name = |prefix| {
                let header = lines.peek_header().and_then(|line| line.strip_prefix(prefix));
                lines.next();
                names::name(header.unwrap_or_default())
            };
            let named = (name("--- "), name("+++ "));
            file.check_names(&named)?;
            file.names = Some(named);
            file.hunks = hunks::read(lines)?;
            break;
        }
        if line.starts_with("@@") {
            file.hunks = hunks::read(lines)?;
            break;
        }
        if line == "GIT binary patch" {
            file.binary = Some(binary(lines, file.index.take())?);
            break;
        }
        if is_binary(line) {
            return Err(
                lines.error("expected the content of a binary file; use `git diff --binary`")
            );
        }
        if !file.header(line).map_err(|detail| lines.error(&detail))? {
            break;
        }
        lines.next();
    }
    Ok(file)
}

impl FileDiff {
    /// Reads a line of an extended header. Returns whether it is one.
    fn header(&mut self, line: &str) -> Result<bool, String> {
        let value =
            |prefixes: &[&str]| prefixes.iter().find_map(|prefix| line.strip_prefix(prefix));
        if let Some(mode) = value(&["old mode "]) {
            self.mode(mode)?;
        } else if let Some(mode) = value(&["new mode "]) {
            self.executable = Some(self.mode(mode)?);
        } else if let Some(mode) = value(&["new file mode "]) {
            self.executable = Some(self.mode(mode)?);
            self.added = true;
        } else if let Some(mode) = value(&["deleted file mode "]) {
            self.mode(mode)?;
            self.deleted = true;
        } else if let Some(name) = value(&["rename from ", "rename old ", "copy from "]) {
            self.moved = Some((names::name(name), String::new()));
            self.copied = line.starts_with("copy");
        } else if let Some(name) = value(&["rename to ", "rename new ", "copy to "]) {
            let from = self.moved.take().map(|(from, _)| from);
            let from = from.ok_or("expected `rename from` or `copy from` before this line")?;
            self.moved = Some((from, names::name(name)));
        } else if let Some(index) = value(&["index "]) {
            let (hashes, mode) = index.split_once(' ').unwrap_or((index, "100644"));
            self.mode(mode)?;
            self.index = hashes.split_once("..").map(|(a, b)| (a.to_owned(), b.to_owned()));
        } else {
            return Ok(value(&["similarity index ", "dissimilarity index "]).is_some());
        }
        Ok(true)
    }

    /// Returns whether a mode is of an executable file. Refuses links and submodules.
    fn mode(&self, mode: &str) -> Result<bool, String> {
        match mode.trim() {
            "100644" | "100664" | "100600" => Ok(false),
            "100755" => Ok(true),
            other => {
                let path = self.both.as_ref().map_or("", |(_, new)| new);
                Err(format!(
                    "expected plain files, got mode {} (a link or a submodule) for {}",
                    excerpt(other),
                    excerpt(path)
                ))
            }
        }
    }

    /// Checks the names of `---` and `+++` against those of `diff --git`.
    fn check_names(&self, (old, new): &(String, String)) -> Result<(), Error> {
        let Some(both) = &self.both else { return Ok(()) };
        let differ = (old != NOWHERE && *old != both.0) || (new != NOWHERE && *new != both.1);
        if !differ {
            return Ok(());
        }
        let detail = "expected the names of `---` and `+++` to be those of `diff --git`";
        Err(error_at(self.line, detail))
    }

    /// Returns the names with their prefixes, if there are two.
    fn pair(&self) -> Option<&(String, String)> {
        let is_pair = |pair: &&(String, String)| pair.0 != NOWHERE && pair.1 != NOWHERE;
        self.names.as_ref().filter(is_pair).or(self.both.as_ref())
    }

    /// Whether its names have prefixes; `None` if it has one name only.
    fn has_prefixes(&self) -> Option<bool> {
        let (old, new) = self.pair()?;
        match &self.moved {
            // Names of moves have no prefixes, so they tell.
            Some((from, to)) => Some(from != old || to != new),
            None => Some(names::have_prefixes(old, new)),
        }
    }

    /// Returns its section. `by_others` says whether the names of other files have prefixes.
    fn section(
        self,
        by_others: bool,
        relative: fn(&str) -> Result<PathBuf, Error>,
    ) -> Result<Section, Error> {
        let prefixed = self.has_prefixes();
        let clean = |name: &str| {
            let strip = prefixed.unwrap_or_else(|| by_others && names::has_prefix(name));
            if strip { names::strip(name).to_owned() } else { name.to_owned() }
        };
        let names = self.names.as_ref().or(self.both.as_ref());
        let (old, new) = names.map(|(old, new)| (clean(old), clean(new))).unzip();
        let old = old.filter(|_| names.is_some_and(|names| names.0 != NOWHERE));
        let new = new.filter(|_| names.is_some_and(|names| names.1 != NOWHERE));
        let deleted = self.deleted || new.is_none() && old.is_some();
        let added = self.added || old.is_none() && new.is_some();
        if added && deleted {
            return Err(error_at(self.line, "expected a file to be added or deleted, got both"));
        }
        let path = match (&self.moved, &old, &new) {
            (Some((_, to)), ..) => to.clone(),
            (None, Some(old), _) if deleted => old.clone(),
            (None, Some(old), Some(new)) if !self.git && !added => {
                names::plain(old, new).to_owned()
            }
            (None, _, Some(new)) => new.clone(),
            _ => return Err(error_at(self.line, "expected the name of a file, got none")),
        };
        // Every name is checked, also one that is not used.
        for name in [&old, &new].into_iter().flatten() {
            relative(name)?;
        }
        let path = relative(&path)?;
        let action = match &self.moved {
            Some((from, _)) => {
                let from = relative(from)?;
                match (from == path, self.copied) {
                    (true, _) => Action::Modify,
                    (false, true) => Action::Copy { from },
                    (false, false) => Action::Rename { from },
                }
            }
            None if added => Action::Add,
            None if deleted => Action::Delete { verified: true },
            None if !self.git && inserts_into_nothing(&self.hunks) => Action::AddOrModify,
            None => Action::Modify,
        };
        let edit = match self.binary {
            Some(binary) => Edit::Binary(binary),
            None => Edit::Hunks(self.hunks),
        };
        Ok(Section { path, action, executable: self.executable, edit })
    }
}

/// Whether hunks are those of a new file: `@@ -0,0 +1,N @@`.
fn inserts_into_nothing(hunks: &[Hunk]) -> bool {
    match hunks {
        [only] => {
            matches!(only.place, Place::Numbers { old: 0, .. })
                && only.lines.iter().all(|line| line.tag == Tag::Added)
        }
        _ => false,
    }
}

/// Reads the first of the two contents of a binary patch; the second is for its reversal.
fn binary(lines: &mut Lines<'_>, index: Option<(String, String)>) -> Result<Binary, Error> {
    let line = lines.number();
    lines.next();
    let is_full = |name: &str| matches!(name.len(), 40 | 64);
    let Some((before, after)) = index.filter(|(old, new)| is_full(old) && is_full(new)) else {
        return Err(error_at(line, "expected a full `index` line; use `git diff --binary`"));
    };
    let mut contents = Vec::new();
    while let Some(header) = lines.peek_header() {
        let method =
            header.split_once(' ').filter(|(method, _)| matches!(*method, "literal" | "delta"));
        let Some((method, size)) = method else { break };
        let Ok(size) = size.parse() else {
            return Err(lines.error("expected the size of a binary file"));
        };
        let delta = method == "delta";
        lines.next();
        let start = lines.offset();
        while lines.peek_header().is_some_and(|line| !line.is_empty()) {
            lines.next();
        }
        let span = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        contents.push((delta, size, Span { start: span(start), end: span(lines.offset()) }));
        lines.next();
    }
    let Some((delta, size, data)) = contents.into_iter().next() else {
        return Err(error_at(line, "expected `literal` or `delta` and a size"));
    };
    Ok(Binary { line, before, after, delta, size, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(patch: &str) -> Result<Vec<Section>, Error> {
        parse(patch, |path| Ok(PathBuf::from(path)))
    }

    fn check(patch: &str, expected: &[(&str, Action)]) {
        let sections = parsed(patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
        let found: Vec<(String, Action)> = sections
            .iter()
            .map(|section| (section.path.display().to_string(), section.action.clone()))
            .collect();
        let expected: Vec<(String, Action)> =
            expected.iter().map(|(path, action)| ((*path).to_owned(), action.clone())).collect();
        assert_eq!(found, expected, "{patch}");
    }

    const HUNK: &str = "@@ -1 +1 @@\n-1\n+2\n";
    const NEW: &str = "@@ -0,0 +1 @@\n+2\n";

    #[test]
    fn headers_name_the_paths() {
        let modify = |path| [(path, Action::Modify)];
        check(&format!("--- a/x\n+++ b/x\n{HUNK}"), &modify("x"));
        check(&format!("--- x\t2026-01-01\n+++ x\t2026-01-02\n{HUNK}"), &modify("x"));
        check(&format!("--- d/x\n+++ d/x\n{HUNK}"), &modify("d/x"));
        check(&format!("--- a/x\n+++ a/x\n{HUNK}"), &modify("a/x"));
        check(&format!("--- a/d/x\r\n+++ b/d/x\r\n{HUNK}"), &modify("d/x"));
        check(
            &format!(
                "diff -ru old/d/x new/d/x\n--- old/d/x 2024-01-01 10:00\n+++ new/d/x 2024-01-01 10:01\n{HUNK}"
            ),
            &modify("d/x"),
        );
        check(
            &format!("Index: x\n=====\n--- x\t(revision 1)\n+++ x\t(working copy)\n{HUNK}"),
            &modify("x"),
        );
        check(
            &format!(
                "diff -r 1f x\n--- a/x\tMon Jan 01 12:00:00 2024 +0000\n+++ b/x\tMon Jan 01 12:00:01 2024 +0000\n{HUNK}"
            ),
            &modify("x"),
        );
        check(&format!("--- x.orig\n+++ x\n{HUNK}"), &modify("x"));
        check("diff --git a/x y b/x y\nold mode 100644\nnew mode 100755\n", &modify("x y"));
        check("diff --git x y x y\nold mode 100644\nnew mode 100755\n", &modify("x y"));
        check(&format!("--- a/../x\n+++ b/../x\n{HUNK}"), &modify("../x"));
    }

    #[test]
    fn headers_tell_additions_from_deletions() {
        let add = |path| [(path, Action::Add)];
        check(&format!("--- /dev/null\n+++ b/d/new\n{NEW}"), &add("d/new"));
        check(&format!("--- /dev/null\n+++ d/new\n{NEW}"), &add("d/new"));
        check(
            &format!("--- d/x\n+++ d/x\n{HUNK}--- /dev/null\n+++ b/new\n{NEW}"),
            &[("d/x", Action::Modify), ("b/new", Action::Add)],
        );
        check(
            &format!(
                "--- o/f\t1970-01-01 00:00:00 +0000\n+++ n/f\t2024-01-01 00:00:00 +0000\n{NEW}"
            ),
            &add("f"),
        );
        check(&format!("--- f\t(nonexistent)\n+++ f\t(working copy)\n{NEW}"), &add("f"));
        check(&format!("--- f\n+++ f\n{NEW}"), &[("f", Action::AddOrModify)]);
        check(
            "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n",
            &[("f", Action::Delete { verified: true })],
        );
        check("diff --git b/f b/f\nnew file mode 100644\n", &add("b/f"));
        check(
            "diff --git a/f b/f\ndeleted file mode 100644\n",
            &[("f", Action::Delete { verified: true })],
        );
        let from = |from: &str| PathBuf::from(from);
        check(
            "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n",
            &[("y", Action::Rename { from: from("x") })],
        );
        check(
            "diff --git a/x b/y\nrename from a/x\nrename to b/y\n",
            &[("b/y", Action::Rename { from: from("a/x") })],
        );
        check(
            "diff --git a/x y b/z\ncopy from x y\ncopy to z\n",
            &[("z", Action::Copy { from: from("x y") })],
        );
        check("diff --git a/x b/x\nrename from x\nrename to x\n", &[("x", Action::Modify)]);
    }

    #[test]
    fn what_is_no_plain_diff_is_refused() {
        for (patch, says) in [
            ("diff --git a/l b/l\nnew file mode 120000\n", "120000"),
            ("diff --git a/s b/s\nnew file mode 160000\n", "\"b/s\""),
            ("diff --git a/l b/l\nindex 1234567..89abcde 120000\n", "plain files"),
            ("diff --git a/l b/l\nold mode 100644\nnew mode 120000\n", "plain files"),
            ("diff --git a/l b/l\nBinary files a/l and b/l differ\n", "line 2"),
            (
                "diff --git a/l b/l\nindex 12..34\nGIT binary patch\nliteral 1\nIcmZ\n\n",
                "full `index`",
            ),
            ("diff --git a/x b/x\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-1\n+2\n", "diff --git"),
            ("@@ -1 +1 @@\n-1\n+2\n", "line 1"),
            ("", "unified diff"),
            ("hello\n--- \nworld", "unified diff"),
            ("1c1\n< a\n---\n> b\n", "unified diff"),
        ] {
            let error = parsed(patch).unwrap_err().to_string();
            assert!(error.starts_with("patch: ") && error.contains(says), "{patch}: {error}");
        }
    }
}
