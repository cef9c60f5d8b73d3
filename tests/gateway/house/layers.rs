//! Imports point down the layers of `src/lib.rs`, and no files import each other in a circle.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::graph::Crate;
use super::graph::circles;
use super::sources::root;

/// The doors that may be behind a door: each of these pairs is one step of a request's path.
const DOORS_BEHIND_DOORS: [(&str, &str); 4] =
    [("gateway", "api"), ("gateway", "rpc"), ("server", "gateway"), ("cli", "server")];

/// The crates whose files import no others in a circle.
const CRATES: [&str; 4] = ["src", "crates/wires/src", "bench/peers/src", "bench/support/src"];

/// Modules that are one thing in several files: they may import each other.
const PARTS_OF_ONE_TYPE: &[&[&str]] = &[
    // `impl Conversation` in several files.
    &[
        "conversation/approvals",
        "conversation/handle",
        "conversation/pump",
        "conversation/rollback",
        "conversation/state",
        "conversation/supervisor",
        "conversation/turn",
    ],
];

/// Returns the folders of each layer, as the page in `src/lib.rs` lists them.
fn layers() -> Vec<(String, Vec<String>)> {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let (_, section) = lib.split_once("//! # Layers").unwrap();
    let block = section.split("//! ```").nth(1).unwrap();
    let rows = block.lines().filter_map(|line| line.strip_prefix("//! "));
    let rows: Vec<(String, Vec<String>)> = rows
        .filter_map(|row| {
            let mut words = row.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.collect()))
        })
        .collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["foundation", "services", "application", "doors"]);
    rows
}

/// Returns which folders each folder of `src/` imports.
fn folders() -> BTreeMap<String, BTreeSet<String>> {
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, imports) in Crate::read("src").imports() {
        let Some(folder) = module.first() else { continue };
        let others = imports.iter().filter_map(|import| import.first());
        let entry = folders.entry(folder.clone()).or_default();
        entry.extend(others.filter(|other| *other != folder).cloned());
    }
    folders
}

#[test]
fn imports_point_down_the_layers() {
    let layers = layers();
    let order: Vec<&String> = layers.iter().flat_map(|(_, folders)| folders).collect();
    let place = |folder: &String| order.iter().position(|known| *known == folder);
    let doors = &layers.last().unwrap().1;
    let folders = folders();
    for folder in &order {
        assert!(folders.contains_key(*folder), "src/lib.rs lists {folder}, which is not there");
    }
    let mut wrong = Vec::new();
    for (folder, imports) in &folders {
        let own = place(folder).unwrap_or_else(|| panic!("src/lib.rs does not list {folder}"));
        for import in imports {
            let upward = place(import).is_none_or(|other| other >= own);
            let sideways = doors.contains(folder)
                && doors.contains(import)
                && !DOORS_BEHIND_DOORS.contains(&(folder.as_str(), import.as_str()));
            if upward || sideways {
                wrong.push(format!("{folder} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "against the layers of src/lib.rs: {wrong:#?}");
}

#[test]
fn files_do_not_import_in_circles() {
    let mut found = Vec::new();
    for folder in CRATES {
        let mut graph = Crate::read(folder).imports();
        graph.remove(&Vec::new());
        for circle in circles(&graph) {
            let circle: BTreeSet<String> = circle.iter().map(|module| module.join("/")).collect();
            let one_type = PARTS_OF_ONE_TYPE
                .iter()
                .any(|parts| circle.iter().all(|module| parts.contains(&module.as_str())));
            if folder != "src" || !one_type {
                found.push((folder, circle));
            }
        }
    }
    assert!(found.is_empty(), "files that import each other: {found:#?}");
}

#[test]
fn imports_are_found_however_written() {
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let imports_of = |text: &str| {
        let fixed =
            [("", ""), ("b", "pub(crate) use self::c::Inner;"), ("b/c", "pub struct Inner;")];
        let mut modules: Vec<_> =
            fixed.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect();
        modules[0].0.clear();
        modules.push((module("a"), text.to_owned()));
        let mut imports = Crate::of(modules).imports();
        imports
            .remove(&module("a"))
            .unwrap()
            .into_iter()
            .map(|found| found.join("/"))
            .collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("pub(crate) use crate::{b::c};", "b/c"),
        ("use crate::b::Inner;", "b/c"),
        ("fn f() { crate::b::g() }", "b"),
        ("fn f() { println!(\"//\", crate::b::c::X) }", "b/c"),
        ("mod inline { use super::super::b::Inner; }", "b/c"),
        ("#[serde(with = \"crate::b::c\")] struct S;", "b/c"),
    ] {
        assert_eq!(imports_of(text), [expected], "{text}");
    }
    for text in
        ["// crate::b", "#[cfg(test)] mod tests { use crate::b; }", "pub(in crate::b) fn f() {}"]
    {
        assert_eq!(imports_of(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_circle_is_found() {
    let graph = |edges: &[(&'static str, &'static str)]| {
        let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry(from).or_default().insert(to);
        }
        graph
    };
    assert!(circles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = circles(&graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]));
    assert_eq!(found, [BTreeSet::from(["b", "c"])]);
}
