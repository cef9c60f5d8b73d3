//! The sources, as the house tests read them: files, modules, imports and functions.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// A module, as its path below the crate: `["conversation", "log"]`; the crate itself is empty.
pub(super) type Module = Vec<String>;

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

/// Returns the module that a file of `src/` holds.
pub(super) fn module_of(path: &Path) -> Module {
    let path = path.strip_prefix("src").unwrap().with_extension("");
    let mut parts: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Returns which modules of `src/` each module names by a `crate::`, `self::` or `super::` path,
/// wherever it stands: in `use` lines and inline. Comments, unit tests, and what a module only
/// declares or re-exports do not count.
pub(super) fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = sources("src");
    let modules: BTreeSet<Module> = sources.iter().map(|(path, _)| module_of(path)).collect();
    let mut imports = BTreeMap::new();
    for (path, text) in &sources {
        let module = module_of(path);
        let mut named = BTreeSet::new();
        for line in without_tests(text).lines() {
            let line = line.split("//").next().unwrap_or_default();
            let reexport = line.trim_start().starts_with("pub") && line.contains("use self::");
            if !reexport {
                named.extend(paths_in(line).filter_map(|path| resolve(&module, path, &modules)));
            }
        }
        named.remove(&module);
        imports.insert(module, named);
    }
    imports
}

fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// Returns the paths of a line that begin with `crate::`, `self::` or `super::`.
fn paths_in(line: &str) -> impl Iterator<Item = &str> {
    let starts = ["crate::", "self::", "super::"];
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    line.split(move |letter| !is_word(letter))
        .filter(move |word| starts.iter().any(|start| word.starts_with(start)))
}

/// Returns the longest module that a path of `from` names.
fn resolve(from: &Module, path: &str, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut base = from.clone();
    let mut parts = path.split("::").filter(|part| !part.is_empty()).peekable();
    match parts.next()? {
        "crate" => base.clear(),
        "super" => {
            base.pop();
            while parts.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => {}
    }
    let mut found = modules.contains(&base).then(|| base.clone());
    for part in parts {
        base.push(part.to_owned());
        if modules.contains(&base) {
            found = Some(base.clone());
        }
    }
    found
}

/// Returns the circles of a graph: its strongly connected components of two or more nodes.
pub(super) fn circles<T: Clone + Ord>(graph: &BTreeMap<T, BTreeSet<T>>) -> Vec<BTreeSet<T>> {
    let mut circles: Vec<BTreeSet<T>> = Vec::new();
    for node in graph.keys() {
        if circles.iter().any(|circle| circle.contains(node)) {
            continue;
        }
        let reached = reachable(graph, node);
        let circle: BTreeSet<T> =
            reached.into_iter().filter(|other| reachable(graph, other).contains(node)).collect();
        if circle.len() > 1 {
            circles.push(circle);
        }
    }
    circles
}

fn reachable<T: Clone + Ord>(graph: &BTreeMap<T, BTreeSet<T>>, from: &T) -> BTreeSet<T> {
    let mut reached = BTreeSet::new();
    let mut left = vec![from.clone()];
    while let Some(node) = left.pop() {
        for next in graph.get(&node).into_iter().flatten() {
            if reached.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    reached
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
