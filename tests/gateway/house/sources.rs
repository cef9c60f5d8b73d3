//! The sources, as the house tests read them: files and functions.

use std::path::Path;
use std::path::PathBuf;

/// The root of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every Rust file below a folder of the repository, by its path from the root.
pub(super) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found.sort();
    found
}

/// A function of a file.
pub(super) struct Function {
    /// The line that it begins on, from 1.
    pub(super) line: usize,
    /// How many lines it has, its signature included.
    pub(super) lines: usize,
    /// Its name.
    pub(super) name: String,
    /// The comment and attribute lines right above it.
    pub(super) head: String,
}

/// Returns the functions of a file that rustfmt has formatted.
pub(super) fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
        if !before.split_whitespace().all(|word| modifiers.contains(&word)) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let end = format!("{indent}}}");
        let Some(lines_long) = lines[at..].iter().position(|line| **line == end) else { continue };
        let declared = lines[at..at + lines_long].iter().position(|line| line.ends_with(';'));
        let opened = lines[at..at + lines_long].iter().position(|line| line.ends_with('{'));
        if opened.is_none() || declared < opened && declared.is_some() {
            continue;
        }
        let above = lines[..at].iter().rev().take_while(|line| {
            let line = line.trim_start();
            line.starts_with("//") || line.starts_with("#[")
        });
        found.push(Function {
            line: at + 1,
            lines: lines_long + 1,
            name: after.split(['(', '<']).next().unwrap_or_default().to_owned(),
            head: above.copied().collect::<Vec<_>>().join("\n"),
        });
    }
    found
}
