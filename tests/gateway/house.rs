//! The house rules, and the lists in the README, against the code.

use std::path::Path;
use std::path::PathBuf;

use codex_gateway::gateway::Route;
use codex_gateway::rpc::Method;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
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
    found
}

#[test]
fn only_the_engine_crate_names_codex_crates() {
    for (path, text) in sources("src") {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            // A path that begins with a codex crate, not with `codex_gateway…`.
            let named = line.match_indices("codex_").any(|(at, _)| {
                let word: String = line[at..]
                    .chars()
                    .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                    .collect();
                line[at + word.len()..].starts_with("::")
                    && !word.starts_with("codex_gateway")
                    && !line[..at].ends_with(':')
                    && !line[..at].ends_with('_')
            });
            assert!(!named, "{}: {line}", path.display());
        }
    }
}

#[test]
fn only_the_error_type_picks_a_failures_status() {
    for (path, text) in sources("src") {
        // The bridge and the door speak to core, not to clients.
        let allowed =
            ["src/error.rs", "src/bridge/mod.rs", "src/gateway/reply.rs", "src/proxy/door.rs"];
        if allowed.iter().any(|file| path == Path::new(file)) {
            continue;
        }
        for status in
            ["BAD_REQUEST", "NOT_FOUND", "CONFLICT", "INTERNAL_SERVER_ERROR", "UNAUTHORIZED"]
        {
            assert!(!text.contains(&format!("StatusCode::{status}")), "{}", path.display());
        }
    }
}

#[test]
fn files_are_short_and_begin_with_what_they_are() {
    for folder in ["src", "crates", "tests", "benches"] {
        for (path, text) in sources(folder) {
            assert!(text.lines().count() <= 600, "{} is too long", path.display());
            assert!(text.starts_with("//!"), "{} has no module doc", path.display());
        }
    }
}

#[test]
fn the_manifest_is_the_only_place_that_knows_where_codex_comes_from() {
    for folder in ["src", "crates", "benches"] {
        for (path, text) in sources(folder) {
            assert!(!text.contains(concat!("type", "duck")), "{}", path.display());
        }
    }
}

#[test]
fn the_readme_lists_every_endpoint_and_method() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for (method, path) in Route::TABLE {
        assert!(readme.contains(&format!("`{method} {path}`")), "README lacks {method} {path}");
    }
    for method in Method::ALL {
        let name = method.spec().name;
        assert!(readme.contains(&format!("`{name}`")), "README lacks {name}");
    }
    assert!(readme.contains("cargo run --locked") && readme.contains("cargo test --locked"));
}
