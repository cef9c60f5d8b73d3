//! A parser of the metrics and labels that a PromQL expression names. It supports the forms of the
//! dashboard and the alerts and panics at others, so that nothing stays unchecked.

/// A metric in an expression.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub metric: String,
    /// Labels of its matchers and of the surrounding aggregations.
    pub labels: Vec<String>,
}

/// Words that are neither metrics nor functions.
const WORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

/// Returns the metrics of an expression, in order.
pub fn named(expression: &str) -> Vec<Named> {
    let tokens = tokens(expression);
    let mut found = Vec::new();
    let mut around: Vec<Vec<String>> = Vec::new();
    let mut grouped = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1).map_or("", String::as_str);
        at += 1;
        match token.as_str() {
            "by" => {
                let written_after = at >= 2 && tokens[at - 2] == ")";
                assert!(!written_after, "write `sum by (…) (…)`: {expression}");
                (grouped, at) = names(&tokens, at, ")");
            }
            "(" => around.push(std::mem::take(&mut grouped)),
            ")" => drop(around.pop().unwrap_or_else(|| panic!("brackets: {expression}"))),
            "without" | "on" | "ignoring" | "group_left" | "group_right" | "{" => {
                panic!("`{token}` is not supported: {expression}")
            }
            word if is_name(word) && !WORDS.contains(&word) && !["(", "by"].contains(&next) => {
                let mut labels: Vec<String> = around.concat();
                if next == "{" {
                    let (matched, after) = names(&tokens, at, "}");
                    labels.extend(matched);
                    at = after;
                }
                found.push(Named { metric: word.to_owned(), labels });
            }
            _ => {}
        }
    }
    assert!(around.is_empty(), "brackets: {expression}");
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
}

/// Returns the names up to the closing bracket, and the position after it. Strings are no tokens.
fn names(tokens: &[String], from: usize, close: &str) -> (Vec<String>, usize) {
    let length = tokens[from..].iter().position(|token| token == close).unwrap();
    let inside = &tokens[from..from + length];
    (inside.iter().filter(|token| is_name(token)).cloned().collect(), from + length + 1)
}

/// Splits into names, numbers and signs, without strings and ranges (`[5m]`), which name nothing.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut letters = expression.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                while let Some(inside) = letters.next() {
                    match inside {
                        '\\' => drop(letters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '[' => drop(letters.by_ref().find(|letter| *letter == ']')),
            _ if letter.is_whitespace() => {}
            _ if letter.is_ascii_alphanumeric() || letter == '_' => {
                let mut word = letter.to_string();
                while let Some(more) = letters.next_if(|letter| {
                    letter.is_ascii_alphanumeric() || ['_', ':', '.'].contains(letter)
                }) {
                    word.push(more);
                }
                tokens.push(word);
            }
            _ => tokens.push(letter.to_string()),
        }
    }
    tokens
}

#[test]
fn parser_finds_only_metrics_and_labels() {
    let check = |expression: &str, expected: &[(&str, &[&str])]| {
        let expected: Vec<Named> = expected
            .iter()
            .map(|(metric, labels)| Named {
                metric: (*metric).to_owned(),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            })
            .collect();
        assert_eq!(named(expression), expected, "{expression}");
    };
    check("a", &[("a", &[])]);
    check(r#"rate(a_b{x="y } {", z=~"\"w"}[5m] offset 10m) > 1e3"#, &[("a_b", &["x", "z"])]);
    check(
        "histogram_quantile(0.95, sum by (le, x) (rate(a[1m]))) / (b or vector(0))",
        &[("a", &["le", "x"]), ("b", &[])],
    );
    check("absent(up{j=\"k\"}) or c unless d", &[("up", &["j"]), ("c", &[]), ("d", &[])]);
}
