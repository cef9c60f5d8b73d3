//! The house rules, and the lists in the README, against the code.

use std::path::Path;
use std::path::PathBuf;

use codex_gateway::gateway::route::Route;
use codex_gateway::rpc::Method;
use codex_gateway::telemetry::names::METRICS;

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
fn only_the_error_type_picks_statuses() {
    for (path, text) in sources("src") {
        // The bridge and the door speak to core, not to clients.
        let allowed = [
            "src/error.rs",
            "src/bridge/server.rs",
            "src/gateway/reply.rs",
            "src/proxy/mcp_egress.rs",
        ];
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
fn files_are_short_and_begin_with_docs() {
    for folder in ["src", "crates", "tests", "bench", "benches"] {
        for (path, text) in sources(folder) {
            assert!(text.lines().count() <= 600, "{} is too long", path.display());
            assert!(text.starts_with("//!"), "{} has no module doc", path.display());
        }
    }
}

#[test]
fn only_the_manifest_names_the_codex_source() {
    for folder in ["src", "crates", "bench", "benches"] {
        for (path, text) in sources(folder) {
            assert!(!text.contains(concat!("type", "duck")), "{}", path.display());
        }
    }
}

#[test]
fn readme_lists_every_endpoint_and_method() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for route in Route::TABLE {
        let (method, path) = (route.method, route.template);
        assert!(readme.contains(&format!("`{method} {path}`")), "README lacks {method} {path}");
    }
    for method in Method::ALL {
        let name = method.spec().name;
        assert!(readme.contains(&format!("`{name}`")), "README lacks {name}");
    }
    assert!(readme.contains("cargo run --locked") && readme.contains("cargo test --locked"));
}

#[test]
fn telemetry_page_lists_exactly_the_declared_names() {
    let page = std::fs::read_to_string(root().join("docs/telemetry.md")).unwrap();
    let listed = |heading: &str| -> Vec<Vec<String>> {
        let (_, section) = page.split_once(heading).unwrap();
        let rows = section.lines().skip_while(|line| !line.starts_with("|---"));
        let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
        let cells = |row: &str| {
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        rows.map(cells).collect()
    };
    let quoted = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let expected: Vec<Vec<String>> = METRICS
        .iter()
        .map(|metric| {
            let unit = if metric.unit.is_empty() { &[][..] } else { &[metric.unit][..] };
            let kind = metric.kind.as_str().to_owned();
            let about = metric.about.to_owned();
            vec![quoted(&[metric.name]), kind, quoted(unit), quoted(metric.labels), about]
        })
        .collect();
    let metrics = listed("| metric |");
    assert_eq!(metrics.len(), expected.len());
    for (shown, expected) in metrics.iter().zip(&expected) {
        assert_eq!(shown, expected);
    }

    let names = include_str!("../../src/telemetry/names.rs");
    let declared: Vec<&str> = names
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": &str = \""))
        .map(|(_, value)| value.trim_end_matches("\";"))
        .collect();
    let rows = listed("| attribute |");
    let attributes: Vec<&str> =
        rows.iter().flat_map(|row| row[0].split(", ")).map(|name| name.trim_matches('`')).collect();
    for attribute in &attributes {
        assert!(declared.contains(attribute), "no span has {attribute}");
    }
    let (_, own) = names.split_once("pub mod attribute").unwrap();
    for attribute in declared.iter().filter(|name| own.contains(&format!("\"{name}\""))) {
        assert!(attributes.contains(attribute), "the page lacks {attribute}");
    }
}
