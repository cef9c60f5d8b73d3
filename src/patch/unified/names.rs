//! The names of files in the headers of diffs, in the habits of all tools.

/// The prefixes that `git diff` writes, by default and with `diff.mnemonicPrefix`.
const PREFIXES: [&str; 8] = ["a", "b", "c", "i", "o", "w", "1", "2"];
pub(super) const NOWHERE: &str = "/dev/null";

/// Whether two names of one file have prefixes that differ, such as `a/` and `b/` or `old/` and
/// `new/`.
pub(super) fn have_prefixes(old: &str, new: &str) -> bool {
    match (old.split_once('/'), new.split_once('/')) {
        (Some((one, old)), Some((other, new))) => {
            let known = PREFIXES.contains(&one) && PREFIXES.contains(&other);
            one != other && (old == new || known)
        }
        _ => false,
    }
}

/// Whether a name without a counterpart appears to have a prefix.
pub(super) fn has_prefix(name: &str) -> bool {
    name.split_once('/').is_some_and(|(first, _)| PREFIXES.contains(&first))
}

/// Removes the first component of a name.
pub(super) fn strip(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, rest)| rest)
}

/// The name on a line `---` or `+++` that no `diff --git` line precedes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    /// Whether the time or the note after the name says that there is no such file.
    pub(super) missing: bool,
}

/// Parses such a name. A time or a note such as `(revision 3)` follows it after a tab, or after
/// spaces where a mail or a model replaced the tab.
pub(super) fn dated(text: &str) -> Named {
    let (name, note) = match quoted(text) {
        Some((name, note)) => (name, note.trim().to_owned()),
        None => match text.split_once('\t') {
            Some((name, note)) => (name.to_owned(), note.trim().to_owned()),
            None => {
                let text = text.trim_end();
                let at = note_at(text);
                let (name, note) = text.split_at_checked(at).unwrap_or((text, ""));
                (name.trim_end().to_owned(), note.trim().to_owned())
            }
        },
    };
    let missing = name == NOWHERE || note == "(nonexistent)" || is_epoch(&note);
    Named { name, missing }
}

/// Returns the offset of a time or a note at the end of a line.
fn note_at(text: &str) -> usize {
    let notes = [" (revision ", " (working copy)", " (nonexistent)"];
    if text.ends_with(')')
        && let Some(at) = notes.iter().find_map(|note| text.rfind(note))
    {
        return at;
    }
    let words: Vec<(usize, &str)> = words(text);
    let from_end = |n: usize| words.len().checked_sub(n).and_then(|at| words.get(at)).copied();
    let zone = usize::from(from_end(1).is_some_and(|(_, word)| is_zone(word)));
    let is = |n: usize, test: fn(&str) -> bool| from_end(n).is_some_and(|(_, word)| test(word));
    // `2024-01-01 00:00:00.000000000`
    if is(zone + 1, is_time) && is(zone + 2, is_date) {
        return from_end(zone + 2).map_or(text.len(), |(at, _)| at);
    }
    // `Mon Jan 01 00:00:00 2024`
    let is_year: fn(&str) -> bool = |word| word.len() == 4 && is_digits(word);
    if is(zone + 1, is_year)
        && is(zone + 2, is_time)
        && is(zone + 3, is_digits)
        && is(zone + 5, is_day)
    {
        return from_end(zone + 5).map_or(text.len(), |(at, _)| at);
    }
    text.len()
}

/// Returns words with their offsets.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut at = 0;
    for word in text.split(' ') {
        if !word.is_empty() {
            words.push((at, word));
        }
        at += word.len() + 1;
    }
    words
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_date(word: &str) -> bool {
    word.len() == 10
        && word.split('-').map(str::len).eq([4, 2, 2])
        && word.split('-').all(is_digits)
}

fn is_time(word: &str) -> bool {
    let (time, fraction) = word.split_once('.').unwrap_or((word, "0"));
    let parts = time.split(':').count();
    (2..=3).contains(&parts) && time.split(':').all(is_digits) && is_digits(fraction)
}

fn is_zone(word: &str) -> bool {
    word.strip_prefix(['+', '-']).is_some_and(|zone| is_digits(&zone.replace(':', "")))
}

fn is_day(word: &str) -> bool {
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&word)
}

/// Whether a time is the beginning of 1970, which `diff -N` writes for a missing file.
fn is_epoch(note: &str) -> bool {
    let words: Vec<&str> = note.split_whitespace().collect();
    let [date, time, zone] = words.as_slice() else { return false };
    if !(is_date(date) && is_time(time) && is_zone(zone)) {
        return false;
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':');
    let (hours, minutes) = (number(clock.next()), number(clock.next()));
    let seconds = clock.next().map_or(0, |seconds| number(Some(seconds)));
    let digits = zone.get(1..).unwrap_or_default().replace(':', "");
    let east = number(digits.get(..2)) * 60 + number(digits.get(2..));
    let east = if zone.starts_with('-') { -east } else { east };
    let days = match *date {
        "1969-12-31" => -1,
        "1970-01-01" => 0,
        _ => return false,
    };
    seconds == 0
        && fraction.bytes().all(|digit| digit == b'0')
        && days * 24 * 60 + hours * 60 + minutes == east
}

/// Returns the better of two names of one file without a prefix: the shorter, if the other one
/// only appends to it (`f.c` of `f.c.orig`), as git does.
pub(super) fn plain<'a>(old: &'a str, new: &'a str) -> &'a str {
    if new.starts_with(old) { old } else { new }
}

/// Parses the two names of a `diff --git` line. An unquoted name may contain spaces: then the names
/// are equal apart from their prefixes, or other header lines repeat them.
pub(super) fn both(names: &str) -> Vec<String> {
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
pub(super) fn name(text: &str) -> String {
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

    #[test]
    fn dates_and_notes_are_no_part_of_names() {
        for note in [
            "\t2024-01-01 00:00:00.000000000 +0000",
            " 2024-01-01 00:00:00.000000000 +0000",
            " 2024-01-01 10:20",
            "  2024-01-01 10:20:30 -07:00",
            "\tMon Jan 01 12:00:00 2024 +0000",
            " Mon Jan 01 12:00:00 2024 +0000",
            " Mon Jan  1 12:00:00 2024",
            "\t(revision 12)",
            " (revision 12)",
            "\t(working copy)",
            " (working copy)",
            "\t(.../trunk)\t(revision 3)",
            "\t",
            "",
        ] {
            let named = dated(&format!("d/a b{note}"));
            assert_eq!(named, Named { name: "d/a b".to_owned(), missing: false }, "{note}");
        }
        assert_eq!(dated("notes 2024-01-01").name, "notes 2024-01-01");
    }

    #[test]
    fn missing_files_are_recognised() {
        for text in [
            "/dev/null",
            "/dev/null\tThu Jan 01 00:00:00 1970 +0000",
            "/dev/null 2024-01-01 00:00:00",
            "f\t1970-01-01 00:00:00.000000000 +0000",
            "f\t1970-01-01 01:00:00.000000000 +0100",
            "f\t1969-12-31 16:00:00 -0800",
            "f 1970-01-01 00:00:00.000000000 +0000",
            "f\t(nonexistent)",
        ] {
            assert!(dated(text).missing, "{text}");
        }
        for text in ["f\t1970-01-01 00:00:01 +0000", "f\t1970-01-01 00:00:00 +0100", "f"] {
            assert!(!dated(text).missing, "{text}");
        }
    }

    #[test]
    fn prefixes_differ() {
        for (old, new, prefixed) in [
            ("a/x", "b/x", true),
            ("a/x", "b/y", true),
            ("i/x", "w/x", true),
            ("old/d/x", "new/d/x", true),
            ("a/x", "a/x", false),
            ("d/x", "d/x", false),
            ("d/x", "e/y", false),
            ("x", "x", false),
        ] {
            assert_eq!(have_prefixes(old, new), prefixed, "{old} {new}");
        }
    }

    #[test]
    fn two_names_of_a_line_are_split() {
        for (line, names) in [
            ("a/x b/x", ["a/x", "b/x"]),
            ("a/x y b/x y", ["a/x y", "b/x y"]),
            ("x y x y", ["x y", "x y"]),
            ("\"a/\\303\\244\\t\" \"b/\\303\\244\\t\"", ["a/ä\t", "b/ä\t"]),
            ("a/x \"b/\\\"\"", ["a/x", "b/\""]),
            ("a/x b/y", ["a/x", "b/y"]),
        ] {
            assert_eq!(both(line), names, "{line}");
        }
        assert!(both("a/x y b/z").is_empty());
    }
}
