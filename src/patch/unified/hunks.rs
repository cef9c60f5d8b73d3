//! Reads the hunks of a unified diff.
//!
//! The counts of a hunk's header decide which lines are its content. Programs count right;
//! language models often do not: then the lines themselves decide.

use super::lines::Lines;
use crate::error::Error;
use crate::patch::section::Hunk;
use crate::patch::section::Line;
use crate::patch::section::Place;
use crate::patch::section::Tag;
use crate::text::excerpt;

/// The numbers of `@@ -OLD,OLD_COUNT +NEW,NEW_COUNT @@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::patch) struct Ranges {
    old: u32,
    old_count: u32,
    new: u32,
    new_count: u32,
}

impl Ranges {
    pub(in crate::patch) fn parse(header: &str) -> Option<Self> {
        let (ranges, _) = header.strip_prefix("@@ -")?.split_once(" @@")?;
        let (old, new) = ranges.split_once(" +")?;
        let range = |range: &str| -> Option<(u32, u32)> {
            let (start, count) = range.split_once(',').unwrap_or((range, "1"));
            Some((start.parse().ok()?, count.parse().ok()?))
        };
        let ((old, old_count), (new, new_count)) = (range(old)?, range(new)?);
        Some(Self { old, old_count, new, new_count })
    }
}

/// Whether the next lines are the names of a file: `---`, `+++` and a hunk.
pub(super) fn at_names(lines: &Lines<'_>) -> bool {
    let mut ahead = lines.clone();
    let mut next = || {
        let line = ahead.peek_header();
        ahead.next();
        line.unwrap_or_default()
    };
    next().starts_with("--- ") && next().starts_with("+++ ") && next().starts_with("@@")
}

/// Reads the hunks that follow.
///
/// # Errors
/// `InvalidRequest` names the line of an invalid hunk.
pub(super) fn read(lines: &mut Lines<'_>) -> Result<Vec<Hunk>, Error> {
    let mut hunks = Vec::new();
    while let Some(header) = lines.peek_header().filter(|line| line.starts_with("@@")) {
        let Some(ranges) = Ranges::parse(header) else {
            return Err(lines.error(&format!(
                "expected a hunk header such as `@@ -1,3 +1,4 @@`, got {}",
                excerpt(header)
            )));
        };
        let line = lines.number();
        lines.next();
        let begin = lines.clone();
        let content = match counted(lines, ranges) {
            Some(content) => content,
            None => {
                *lines = begin;
                recounted(lines)
            }
        };
        if content.is_empty() {
            return Err(lines.error("expected the lines of a hunk, got none"));
        }
        let place = Place::Numbers { old: ranges.old, new: ranges.new };
        hunks.push(Hunk { line, place, lines: content });
    }
    Ok(hunks)
}

/// Reads the lines of a hunk by the counts of its header; `None` if they are wrong.
fn counted(lines: &mut Lines<'_>, ranges: Ranges) -> Option<Vec<Line>> {
    let (mut old, mut new) = (ranges.old_count, ranges.new_count);
    let mut content = Vec::new();
    while old > 0 || new > 0 {
        let Some(tag) = tag(lines.peek()?) else {
            no_newline(lines, &mut content)?;
            continue;
        };
        if tag != Tag::Added {
            old = old.checked_sub(1)?;
        }
        if tag != Tag::Removed {
            new = new.checked_sub(1)?;
        }
        push(lines, &mut content, tag)?;
    }
    no_newline(lines, &mut content);
    // An empty line here separates what follows. A line of content is one too many.
    let more = lines.peek().is_some_and(|line| !line.trim_end_matches('\r').is_empty())
        && lines.peek().and_then(tag).is_some()
        && !at_names(lines)
        && !at_signature(lines);
    (!more).then_some(content)
}

/// Reads lines of a hunk up to one that is none.
fn recounted(lines: &mut Lines<'_>) -> Vec<Line> {
    let mut content = Vec::new();
    while let Some(line) = lines.peek() {
        if at_names(lines) || at_signature(lines) {
            break;
        }
        let read = match tag(line) {
            Some(tag) => push(lines, &mut content, tag),
            None => no_newline(lines, &mut content),
        };
        if read.is_none() {
            break;
        }
    }
    // Empty lines at the end separate what follows.
    while content
        .pop_if(|line| line.text.start == line.text.end && line.tag == Tag::Context)
        .is_some()
    {}
    content
}

/// Returns the tag of a line; `None` if it is no content.
fn tag(line: &str) -> Option<Tag> {
    match line.as_bytes().first() {
        // An empty line is context whose space an editor removed.
        None | Some(b' ' | b'\r') => Some(Tag::Context),
        Some(b'-') => Some(Tag::Removed),
        Some(b'+') => Some(Tag::Added),
        Some(_) => None,
    }
}

fn push(lines: &mut Lines<'_>, content: &mut Vec<Line>, tag: Tag) -> Option<()> {
    let skip = usize::from(lines.peek().is_some_and(|line| !matches!(line, "" | "\r")));
    content.push(Line { tag, text: lines.take(skip)?, newline: true });
    Some(())
}

/// Reads `\ No newline at end of file`, in any language.
fn no_newline(lines: &mut Lines<'_>, content: &mut [Line]) -> Option<()> {
    lines.peek().filter(|line| line.starts_with("\\ "))?;
    content.last_mut()?.newline = false;
    lines.next();
    Some(())
}

/// Whether the signature of a mail follows, or its end.
fn at_signature(lines: &Lines<'_>) -> bool {
    lines.peek_header() == Some("-- ")
        && lines.peek_second().is_none_or(|next| {
            next.is_empty() || !next.starts_with([' ', '+', '-', '@', '\\', '\t'])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hunks of a diff as tags and texts.
    fn shape(text: &str) -> Vec<String> {
        let mut lines = Lines::new(text);
        let hunks = read(&mut lines).unwrap();
        let line = |line: &Line| {
            let tag = match line.tag {
                Tag::Context => ' ',
                Tag::Removed => '-',
                Tag::Added => '+',
            };
            let end = if line.newline { "" } else { "\\" };
            format!("{tag}{}{end}", String::from_utf8_lossy(line.text.of(text)))
        };
        hunks.iter().map(|hunk| hunk.lines.iter().map(line).collect::<Vec<_>>().join("|")).collect()
    }

    #[test]
    fn counts_decide_when_they_are_right() {
        let text =
            "@@ -1,3 +1,3 @@\n one\n--- a/y\n+++ b/y\n\n@@ -9 +9 @@ f\n-1\n\\ No newline\n+2\n\n";
        assert_eq!(shape(text), [" one|--- a/y|+++ b/y| ", "-1\\|+2"]);
    }

    #[test]
    fn wrong_counts_are_recounted() {
        for counts in ["-1,9 +1,9", "-1 +1", "-1,0 +1,0", "-1,2 +1,2"] {
            let text = format!("@@ {counts} @@\n a\n-b\n+c\n d\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n");
            let mut lines = Lines::new(&text);
            let hunks = read(&mut lines).unwrap();
            assert_eq!((hunks.len(), hunks[0].lines.len()), (1, 4), "{counts}");
            assert!(at_names(&lines), "{counts}");
        }
        assert_eq!(shape("@@ -1,5 +1,5 @@\n a\n-b\n+c\n\n-- \n2.47.0\n"), [" a|-b|+c"]);
    }

    #[test]
    fn invalid_hunk_is_refused_by_line() {
        for text in ["@@ ... @@\n-a\n", "@@ -1 +1 @@\n", "@@ -1 +1 @@\nhello\n", "@@ -x +1 @@\n-a"]
        {
            let error = read(&mut Lines::new(text)).unwrap_err().to_string();
            assert!(error.starts_with("patch: line "), "{error}");
        }
    }
}
