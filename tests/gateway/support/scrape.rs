//! A parser of Prometheus' text format.

use std::collections::BTreeMap;

/// One sample line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A parsed response of `/metrics`.
#[derive(Debug)]
pub struct Scrape {
    pub samples: Vec<Sample>,
    /// `counter`, `gauge` or `histogram`, by name of the family.
    pub types: BTreeMap<String, String>,
    pub text: String,
}

impl Scrape {
    /// Parses the text; panics if it violates the format.
    pub fn read(text: String) -> Self {
        let (mut samples, mut types) = (Vec::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let before = types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "a family twice: {line}");
            } else if !line.starts_with('#') {
                samples.push(sample(line));
            }
        }
        Self { samples, types, text }
    }

    /// Returns the series of this name with at least these labels.
    pub fn series(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |one: &&Sample| {
            let label = |(key, value): &(&str, &str)| {
                one.labels.get(*key).map(String::as_str) == Some(*value)
            };
            one.name == name && labels.iter().all(label)
        };
        self.samples.iter().filter(has).collect()
    }

    /// Returns the sum of their values, zero if none match.
    pub fn total(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).iter().map(|one| one.value).sum()
    }

    /// Returns the family of a sample: its name without the suffix of a histogram.
    pub fn family<'a>(&self, sample: &'a Sample) -> &'a str {
        let of_histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| {
            let family = sample.name.strip_suffix(end)?;
            (self.types.get(family)? == "histogram").then_some(family)
        });
        of_histogram.unwrap_or(&sample.name)
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, rest)) = series.split_once('{') else {
        return Sample { name: series.to_owned(), labels: BTreeMap::new(), value };
    };
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
    let mut labels = BTreeMap::new();
    while let Some((key, quoted)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next().unwrap_or_else(|| panic!("{line}")) {
                (at, '"') => break at + 1,
                (_, '\\') => match letters.next().unwrap().1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (_, letter) => text.push(letter),
            }
        };
        labels.insert(key.to_owned(), text);
        rest = quoted[end..].trim_start_matches(',');
    }
    assert!(rest.is_empty(), "{line}");
    Sample { name: name.to_owned(), labels, value }
}
