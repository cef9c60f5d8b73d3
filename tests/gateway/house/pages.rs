//! The lists of the README and of `docs/` against the code.

use std::collections::BTreeSet;

use codex_gateway::gateway::route::Route;
use codex_gateway::telemetry::names::METRICS;

use super::graph::Crate;
use super::sources::root;

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Returns the cells of the first table below a heading.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

/// Returns the words in backticks of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn readme_covers_every_endpoint() {
    let readme = page("README.md");
    let rows = table(&readme, "## API at a glance");
    let listed: Vec<&str> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    let covers = |listed: &str, route: &str| match listed.strip_suffix('…') {
        Some(start) => {
            route.starts_with(start) || route.split_once(' ').unwrap().1.starts_with(start)
        }
        None => listed == route,
    };
    let routes: Vec<String> =
        Route::TABLE.iter().map(|spec| format!("{} {}", spec.method, spec.template)).collect();
    for route in &routes {
        assert!(listed.iter().any(|listed| covers(listed, route)), "the README lacks {route}");
    }
    for listed in listed.iter().filter(|listed| listed.contains('/')) {
        assert!(routes.iter().any(|route| covers(listed, route)), "no route is {listed}");
    }
    assert!(readme.contains("cargo run --locked") && readme.contains("cargo test --locked"));
}

#[test]
fn readme_links_lead_somewhere() {
    for name in [
        "README.md",
        "docs/api.md",
        "docs/configuration.md",
        "docs/design.md",
        "docs/security.md",
        "docs/telemetry.md",
    ] {
        let text = page(name);
        let folder = root().join(name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let local = !file.is_empty() && !file.contains("://");
            assert!(!local || folder.join(file).exists(), "{name}: {link}");
        }
    }
}

/// A step of a walk is a module of `src/` and the name of a function, or of a type. A step above it
/// names it.
#[test]
fn walks_follow_the_calls() {
    let page = page("docs/design.md");
    let sources = Crate::read("src");
    let (_, walks) = page.split_once("## Three walks").unwrap();
    let mut steps = 0;
    for block in walks.split("```text").skip(1) {
        let block = block.split("```").next().unwrap();
        let mut above: Option<BTreeSet<&str>> = None;
        for step in block.lines().filter_map(|line| line.split_whitespace().next()) {
            let mut module: Vec<&str> = step.split("::").collect();
            let name = module.pop().unwrap();
            module.retain(|part| part.starts_with(char::is_lowercase));
            let words = sources.words(&module, name);
            let words = words.unwrap_or_else(|| panic!("docs/design.md: {step} is not there"));
            let is_called = above.as_ref().is_none_or(|above| above.contains(name));
            assert!(is_called, "docs/design.md: no step above calls {step}");
            above.get_or_insert_default().extend(words);
            steps += 1;
        }
    }
    assert!(steps > 20, "{steps} steps");
}

/// Returns the fields of a struct of a source file.
fn fields(source: &str, declaration: &str) -> BTreeSet<String> {
    let text = page(source);
    let (_, body) = text.split_once(declaration).unwrap_or_else(|| panic!("no {declaration}"));
    let body = body.split("\n}").next().unwrap();
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let names = lines.filter_map(|line| {
        let name = line.split_once(": ")?.0.rsplit(' ').next()?;
        name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_').then_some(name)
    });
    names.map(str::to_owned).collect()
}

#[test]
fn configuration_page_has_every_key() {
    let configuration = page("docs/configuration.md");
    let example = page("config.toml.example");
    for (heading, source, declaration) in [
        ("## `[gateway]`", "src/config/file.rs", "pub struct File {"),
        ("## `[gateway.telemetry]`", "src/config/file.rs", "struct Telemetry {"),
        ("## `[gateway.commands]`", "src/config/commands.rs", "struct Commands {"),
        ("## `[gateway.proxy.NAME]`", "src/proxy/upstream.rs", "pub struct UpstreamConfig {"),
        ("## `[gateway.providers.ID]`", "src/bridge/provider.rs", "pub struct ProviderConfig {"),
    ] {
        let rows = table(&configuration, heading);
        let listed: BTreeSet<String> =
            rows.iter().flat_map(|row| quoted(&row[0])).map(str::to_owned).collect();
        let mut known = fields(source, declaration);
        // Core's own ways of logging in, refused or passed on.
        for own in ["requires_openai_auth", "auth", "aws"] {
            known.remove(own);
        }
        assert_eq!(listed, known, "docs/configuration.md {heading} beside {source}");
        for key in known {
            assert!(example.contains(&key), "config.toml.example lacks {key}");
        }
    }
}

#[test]
fn telemetry_page_matches_the_code() {
    let page = page("docs/telemetry.md");
    let listed = |heading: &str| table(&page, heading);
    let in_backticks = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let expected: Vec<Vec<String>> = METRICS
        .iter()
        .map(|metric| {
            let unit = if metric.unit.is_empty() { &[][..] } else { &[metric.unit][..] };
            let kind = metric.kind.as_str().to_owned();
            let about = metric.about.to_owned();
            vec![
                in_backticks(&[metric.name]),
                kind,
                in_backticks(unit),
                in_backticks(metric.labels),
                about,
            ]
        })
        .collect();
    let metrics = listed("| metric |");
    assert_eq!(metrics.len(), expected.len());
    for (shown, expected) in metrics.iter().zip(&expected) {
        assert_eq!(shown, expected);
    }

    let names = include_str!("../../../src/telemetry/names.rs");
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
