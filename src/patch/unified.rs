//! [`touched`]: the paths that a unified diff names.
//!
//! Git applies the diff; this decides which files git sees, and refuses links and submodules.

use crate::error::Error;
use crate::text::excerpt;

/// The paths that a diff names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Touched {
    /// Without prefixes such as `a/`; sorted.
    pub(super) paths: Vec<String>,
    /// Renames: from, to.
    pub(super) renames: Vec<(String, String)>,
    /// The number of leading path components that are prefixes: 0 or 1.
    pub(super) strip: u8,
}

/// The prefixes that `git diff` writes, by default and with `diff.mnemonicPrefix`.
const PREFIXES: [&str; 8] = ["a", "b", "c", "i", "o", "w", "1", "2"];
const NOWHERE: &str = "/dev/null";

/// Reads the headers of a diff.
///
/// # Errors
/// `InvalidRequest` if there are none, or if one is of a link or a submodule.
pub(super) fn touched(patch: &str) -> Result<Touched, Error> {
    let mut headers = Headers::default();
    // The remaining lines of the current hunk: old file, new file.
    let mut hunk = (0_u64, 0_u64);
    let mut lines = patch.lines().peekable();
    while let Some(line) = lines.next() {
        if hunk != (0, 0) {
            match line.as_bytes().first() {
                Some(b' ') | None => hunk = (hunk.0.saturating_sub(1), hunk.1.saturating_sub(1)),
                Some(b'-') => hunk.0 = hunk.0.saturating_sub(1),
                Some(b'+') => hunk.1 = hunk.1.saturating_sub(1),
                Some(b'\\') => {}
                Some(_) => hunk = (0, 0),
            }
            if hunk != (0, 0) || !line.starts_with("diff --git ") {
                continue;
            }
        }
        if let Some(header) = line.strip_prefix("@@ -") {
            hunk = counts(header).unwrap_or_default();
        } else if let Some(old) = line.strip_prefix("--- ") {
            if let Some(new) = lines.peek().and_then(|next| next.strip_prefix("+++ ")) {
                headers.prefixed.extend([name(old), name(new)]);
                lines.next();
            }
        } else {
            headers.read(line)?;
        }
    }
    headers.finish()
}

/// The headers read so far.
#[derive(Default)]
struct Headers {
    /// Without prefixes.
    paths: Vec<String>,
    /// As written, with prefixes.
    prefixed: Vec<String>,
    renames: Vec<(String, String)>,
    renamed_from: Option<String>,
}

impl Headers {
    /// Reads a line outside hunks. Lines that are no header are ignored.
    fn read(&mut self, line: &str) -> Result<(), Error> {
        let either = |one: &str, other: &str| {
            line.strip_prefix(one).or_else(|| line.strip_prefix(other)).map(name)
        };
        if let Some(names) = line.strip_prefix("diff --git ") {
            self.prefixed.extend(both(names));
        } else if let Some(from) = either("rename from ", "rename old ") {
            self.renamed_from = Some(from.clone());
            self.paths.push(from);
        } else if let Some(to) = either("rename to ", "rename new ") {
            self.paths.push(to.clone());
            self.renames.extend(self.renamed_from.take().map(|from| (from, to)));
        } else if let Some(path) = either("copy from ", "copy to ") {
            self.paths.push(path);
        } else if let Some(mode) = mode(line)
            && !matches!(mode, "100644" | "100755" | "100664" | "100600")
        {
            let path = self.prefixed.iter().rev().find(|path| *path != NOWHERE);
            return Err(Error::invalid(format!(
                "patch: expected plain files, got mode {} (a link or a submodule) for {}",
                excerpt(mode),
                excerpt(path.map_or("", String::as_str))
            )));
        }
        Ok(())
    }

    fn finish(self) -> Result<Touched, Error> {
        let Self { mut paths, mut prefixed, renames, .. } = self;
        prefixed.retain(|path| path != NOWHERE);
        let has_prefix = |path: &String| {
            path.split_once('/').is_some_and(|(first, _)| PREFIXES.contains(&first))
        };
        let strip = u8::from(prefixed.iter().all(has_prefix));
        paths.extend(prefixed.into_iter().map(|path| match path.split_once('/') {
            Some((_, rest)) if strip == 1 => rest.to_owned(),
            _ => path,
        }));
        paths.sort();
        paths.dedup();
        if paths.is_empty() {
            return Err(Error::invalid(
                "patch: expected a unified diff (with `---` and `+++`, or `diff --git`), or \
                 codex's form, which begins with `*** Begin Patch`",
            ));
        }
        Ok(Touched { paths, renames, strip })
    }
}

/// Returns the file mode in a header line.
fn mode(line: &str) -> Option<&str> {
    let direct = ["new file mode ", "new mode ", "old mode ", "deleted file mode "];
    let direct = direct.iter().find_map(|prefix| line.strip_prefix(prefix));
    direct.map(str::trim).or_else(|| {
        let (hashes, mode) = line.strip_prefix("index ")?.rsplit_once(' ')?;
        (hashes.contains("..") && mode.len() == 6).then_some(mode)
    })
}

/// Parses the line counts of a hunk header: `1,3 +1,4 @@` → 3 and 4.
fn counts(header: &str) -> Option<(u64, u64)> {
    let mut parts = header.split(' ');
    let count = |range: &str| match range.split_once(',') {
        Some((_, count)) => count.parse().ok(),
        None => Some(1),
    };
    Some((count(parts.next()?)?, count(parts.next()?.strip_prefix('+')?)?))
}

/// Parses the two names of a `diff --git` line. An unquoted name may contain spaces: then the names
/// are equal apart from their prefixes, or other header lines repeat them.
fn both(names: &str) -> Vec<String> {
    let names = names.trim_end();
    if let Some((first, rest)) = quoted(names) {
        return vec![first, name(rest.trim_start())];
    }
    if let Some(at) = names.find(" \"") {
        let (first, second) = names.split_at(at);
        return vec![first.to_owned(), name(second.trim_start())];
    }
    let bare = |path: &str| path.split_once('/').map(|(_, rest)| rest.to_owned());
    let same = names.match_indices(' ').find_map(|(at, _)| {
        let (old, new) = (names.get(..at)?, names.get(at + 1..)?);
        (old == new || (bare(old).is_some() && bare(old) == bare(new))).then_some((old, new))
    });
    let two = || names.split_once(' ').filter(|(_, rest)| !rest.contains(' '));
    same.or_else(two).map_or_else(Vec::new, |(old, new)| vec![old.to_owned(), new.to_owned()])
}

/// Parses a name at the end of a line: quoted as in C, or up to a tab.
fn name(text: &str) -> String {
    match quoted(text) {
        Some((name, _)) => name,
        None => text.split('\t').next().unwrap_or_default().trim_end_matches('\r').to_owned(),
    }
}

/// Parses a quoted name. Returns it and the text after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut bytes = Vec::new();
    loop {
        let mut letters = rest.chars();
        match letters.next()? {
            '"' => return Some((String::from_utf8_lossy(&bytes).into_owned(), letters.as_str())),
            '\\' => {
                let octal = rest.get(1..4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
                if let Some(byte) = octal {
                    bytes.push(byte);
                    rest = rest.get(4..)?;
                    continue;
                }
                bytes.push(match letters.next()? {
                    'a' => 7,
                    'b' => 8,
                    't' => b'\t',
                    'n' => b'\n',
                    'v' => 11,
                    'f' => 12,
                    'r' => b'\r',
                    other => u8::try_from(other).ok()?,
                });
            }
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = letters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patch: &str, paths: &[&str], strip: u8) {
        let touched = touched(patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
        assert_eq!(
            (touched.paths.as_slice(), touched.strip),
            (&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>()[..], strip),
            "{patch}"
        );
    }

    #[test]
    fn headers_name_the_paths() {
        check("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n", &["x"], 1);
        check("--- x\t2026-01-01\n+++ x\t2026-01-02\n@@ -1 +1 @@\n-1\n+2\n", &["x"], 0);
        check("--- d/x\n+++ d/x\n", &["d/x"], 0);
        check("--- /dev/null\n+++ b/d/new\n", &["d/new"], 1);
        check("diff --git a/x y b/x y\nold mode 100644\nnew mode 100755\n", &["x y"], 1);
        check(
            "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n",
            &["x", "y"],
            1,
        );
        check(
            "diff --git \"a/\\303\\244\\t\" \"b/\\303\\244\\t\"\nnew file mode 100644\n",
            &["ä\t"],
            1,
        );
        check("diff --git a/x \"b/\\\"\"\ncopy from x\ncopy to \"\\\"\"\n", &["\"", "x"], 1);
        check("diff --git a/x y b/z\nrename from x y\nrename to z\n", &["x y", "z"], 1);
        check("--- a/../x\n+++ b//etc/y\n", &["../x", "/etc/y"], 1);
    }

    #[test]
    fn hunk_content_is_no_header() {
        let patch = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n one\n--- a/../y\n+++ b/../y\n two\n--- a/z\n+++ b/z\n@@ -1 +1 @@\n-1\n+2\n";
        check(patch, &["x", "z"], 1);
    }

    #[test]
    fn links_and_submodules_are_refused() {
        for (patch, says) in [
            ("diff --git a/l b/l\nnew file mode 120000\n", "120000"),
            ("diff --git a/s b/s\nnew file mode 160000\n", "\"b/s\""),
            ("diff --git a/l b/l\nindex 1234567..89abcde 120000\n", "plain files"),
            ("diff --git a/l b/l\nold mode 100644\nnew mode 120000\n", "plain files"),
            ("", "unified diff"),
            ("hello\n--- \nworld", "unified diff"),
        ] {
            let error = touched(patch).unwrap_err().to_string();
            assert!(error.contains(says), "{patch}: {error}");
        }
    }
}
