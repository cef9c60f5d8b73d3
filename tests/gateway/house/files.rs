//! Files and functions are short, begin with what they are, and respect their borders.

use std::path::Path;

use super::sources::functions;
use super::sources::sources;

/// The folders that hold Rust sources.
const FOLDERS: [&str; 5] = ["src", "crates", "tests", "benches", "bench"];

#[test]
fn files_are_short_and_documented() {
    for folder in FOLDERS {
        for (path, text) in sources(folder) {
            assert!(text.lines().count() <= 600, "{} is too long", path.display());
            assert!(text.starts_with("//!"), "{} has no module doc", path.display());
        }
    }
}

#[test]
fn most_files_fit_on_a_few_screens() {
    let mut lengths: Vec<usize> = ["src", "crates"]
        .into_iter()
        .flat_map(sources)
        .map(|(_, text)| text.lines().count())
        .collect();
    lengths.sort_unstable();
    let (median, nine_in_ten) = (lengths[lengths.len() / 2], lengths[lengths.len() * 9 / 10]);
    assert!(median <= 160, "the median file has {median} lines");
    assert!(nine_in_ten < 390, "nine in ten files have {nine_in_ten} lines or fewer");
}

/// A longer one says in a comment above it why it is one function: `Long: …`.
#[test]
fn long_functions_say_why() {
    for folder in FOLDERS {
        for (path, text) in sources(folder) {
            for function in functions(&text) {
                assert!(
                    function.lines <= 60 || function.head.contains("Long: "),
                    "{}:{}: `{}` has {} lines and no comment `Long: …` that says why",
                    path.display(),
                    function.line,
                    function.name,
                    function.lines,
                );
            }
        }
    }
}

#[test]
fn folder_modules_are_mod_rs() {
    for folder in FOLDERS {
        for (path, _) in sources(folder) {
            let folder = path.with_extension("");
            assert!(!super::sources::root().join(&folder).is_dir(), "{}", path.display());
        }
    }
}

#[test]
fn imports_stand_one_a_line() {
    for folder in ["src", "crates", "tests"] {
        for (path, text) in sources(folder) {
            let grouped = text.lines().find(|line| {
                let line = line.trim_start();
                let line = line.strip_prefix("pub").map_or(line, |line| {
                    line.split_once(")")
                        .filter(|(scope, _)| scope.starts_with('('))
                        .map_or(line, |(_, rest)| rest)
                });
                line.trim_start().starts_with("use ") && line.contains('{')
            });
            assert_eq!(grouped, None, "{}", path.display());
        }
    }
}

#[test]
fn test_names_have_eight_words_or_fewer() {
    for folder in FOLDERS {
        for (path, text) in sources(folder) {
            let lines: Vec<&str> = text.lines().collect();
            for function in functions(&text) {
                let is_test = function
                    .head
                    .lines()
                    .any(|line| line.contains("test]") || line.contains("test("));
                let words = function.name.split('_').count();
                assert!(!is_test || words <= 8, "{}: {}", path.display(), function.name);
            }
            drop(lines);
        }
    }
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
fn only_the_error_type_picks_failure_statuses() {
    // The bridge and the egress proxy speak to core, not to clients.
    let allowed =
        ["src/error.rs", "src/web/reply.rs", "src/bridge/server.rs", "src/proxy/mcp_egress.rs"];
    let failures = [
        "BAD_REQUEST",
        "UNAUTHORIZED",
        "FORBIDDEN",
        "NOT_FOUND",
        "METHOD_NOT_ALLOWED",
        "CONFLICT",
        "GONE",
        "PAYLOAD_TOO_LARGE",
        "UNSUPPORTED_MEDIA_TYPE",
        "UNPROCESSABLE_ENTITY",
        "TOO_MANY_REQUESTS",
        "INTERNAL_SERVER_ERROR",
        "BAD_GATEWAY",
        "SERVICE_UNAVAILABLE",
        "GATEWAY_TIMEOUT",
    ];
    for (path, text) in sources("src") {
        for status in failures {
            let named = text.contains(&format!("StatusCode::{status}"));
            let allowed = allowed.iter().any(|file| path == Path::new(file));
            assert!(!named || allowed, "{} picks {status}", path.display());
        }
    }
}

/// Server-sent events are written in one place.
#[test]
fn only_web_frames_server_sent_events() {
    for (path, text) in sources("src") {
        let frames =
            text.split("#[cfg(test)]").next().is_some_and(|text| text.contains("\\ndata: "));
        assert!(!frames || path == Path::new("src/web/sse.rs"), "{}", path.display());
    }
}

#[test]
fn use_cases_know_no_json_rpc() {
    for (path, text) in sources("src/ops") {
        assert!(
            !text.contains("crate::rpc") && !text.contains("\"jsonrpc\""),
            "{}",
            path.display()
        );
    }
}

#[test]
fn only_the_manifest_knows_codex_origin() {
    for folder in ["src", "crates", "benches", "bench"] {
        for (path, text) in sources(folder) {
            assert!(!text.contains(concat!("type", "duck")), "{}", path.display());
        }
    }
}
