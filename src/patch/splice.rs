//! [`splice`]: the content of a file after its hunks. Lines that no hunk names keep their bytes.

use super::budget::Budget;
use super::locate::Location;
use super::locate::Misfit;
use super::locate::Placed;
use super::section::Hunk;
use super::section::Tag;
use super::source::Equality;
use super::source::Source;
use super::source::ending;
use super::source::key;
use crate::error::Error;

/// Returns the new content, or why there is none.
///
/// # Errors
/// Those of [`Budget::result`].
pub(super) fn splice(
    source: &Source<'_>,
    located: &Location<'_>,
    text: &str,
    budget: &mut Budget,
) -> Result<Result<Vec<u8>, Misfit>, Error> {
    let all = source.offset(source.len());
    let added: usize = located
        .placed
        .iter()
        .flat_map(|placed| &placed.hunk.lines)
        .filter(|line| line.tag == Tag::Added)
        .map(|line| line.text.of(text).len() + b"\r\n".len())
        .sum();
    budget.result((all + added) as u64)?;
    let mut output = Output { bytes: Vec::with_capacity(all + added), unterminated: false };
    let mut at = 0;
    for placed in &located.placed {
        let start = source.offset(placed.start);
        let written = output.push(source.slice(at, start)).and_then(|()| match located.equality {
            Equality::Exact => output.exact(source, placed, text),
            Equality::Content => output.content(source, placed, text),
        });
        if let Err(reason) = written {
            return Ok(Err(Misfit::new(placed.hunk, &reason)));
        }
        at = source.offset(placed.start + placed.len);
    }
    let rest = output.push(source.slice(at, all));
    let last = located.placed.last().map(|placed| placed.hunk);
    Ok(match (rest, last) {
        (Err(reason), Some(hunk)) => Err(Misfit::new(hunk, &reason)),
        _ => Ok(output.bytes),
    })
}

/// Returns the content of a new file, or why there is none.
///
/// # Errors
/// Those of [`Budget::result`].
pub(super) fn create(
    hunks: &[Hunk],
    text: &str,
    budget: &mut Budget,
) -> Result<Result<Vec<u8>, Misfit>, Error> {
    let lines = || hunks.iter().flat_map(|hunk| &hunk.lines);
    let size: usize = lines().map(|line| line.text.of(text).len() + 1).sum();
    budget.result(size as u64)?;
    let mut output = Output { bytes: Vec::with_capacity(size), unterminated: false };
    for hunk in hunks {
        for line in &hunk.lines {
            let end: &[u8] = if line.newline { b"\n" } else { b"" };
            let written = match line.tag {
                Tag::Added => output.line(line.text.of(text), end),
                _ => Err("expected a new file to have added lines only".to_owned()),
            };
            if let Err(reason) = written {
                return Ok(Err(Misfit::new(hunk, &reason)));
            }
        }
    }
    Ok(Ok(output.bytes))
}

struct Output {
    bytes: Vec<u8>,
    /// Whether the last line has no line feed, so that nothing may follow.
    unterminated: bool,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.unterminated {
            return Err("expected a line without a line feed to be the last of the file".to_owned());
        }
        self.bytes.extend_from_slice(bytes);
        self.unterminated = !bytes.ends_with(b"\n");
        Ok(())
    }

    fn line(&mut self, content: &[u8], end: &[u8]) -> Result<(), String> {
        // In two parts: the ending terminates the content.
        if content.is_empty() && end.is_empty() {
            return Ok(());
        }
        self.push(content)?;
        self.unterminated = false;
        self.bytes.extend_from_slice(end);
        self.unterminated = end.is_empty();
        Ok(())
    }

    /// Writes a hunk whose lines are those of the file to the byte.
    fn exact(
        &mut self,
        source: &Source<'_>,
        placed: &Placed<'_>,
        text: &str,
    ) -> Result<(), String> {
        let mut old = source.from(placed.start).take(placed.len);
        for line in &placed.hunk.lines {
            let end: &[u8] = if line.newline { b"\n" } else { b"" };
            match line.tag {
                Tag::Context => self.push(old.next().unwrap_or_default())?,
                Tag::Removed => drop(old.next()),
                Tag::Added => self.line(line.text.of(text), end)?,
            }
        }
        Ok(())
    }

    /// Writes a hunk whose lines differ from those of the file in their endings, or in the byte
    /// order mark at its begin. Both stay as the file has them.
    fn content(
        &mut self,
        source: &Source<'_>,
        placed: &Placed<'_>,
        text: &str,
    ) -> Result<(), String> {
        let at_end = placed.start + placed.len >= source.len();
        // The patch says itself how the file ends if it names the missing line feed.
        let says = placed.hunk.lines.iter().any(|line| !line.newline);
        let keeps_end = at_end && source.is_unterminated() && !says;
        let end = new_ending(source, placed)?;
        let has = |tag| placed.hunk.lines.iter().any(|line| line.tag == tag);
        if placed.len == 0 && keeps_end && has(Tag::Added) {
            // The line before the insertion is no longer the last.
            self.bytes.extend_from_slice(end);
            self.unterminated = false;
        }
        let mark = if placed.start == 0 { source.mark() } else { b"" };
        self.bytes.extend_from_slice(mark);
        let mut old = source.from(placed.start).take(placed.len).enumerate();
        let (old_count, new_count) = placed.hunk.counts();
        let kept = new_count - (old_count - placed.len);
        let mut written = 0;
        for line in &placed.hunk.lines {
            let found = match line.tag {
                Tag::Added => None,
                _ => old.next(),
            };
            if line.tag == Tag::Removed {
                continue;
            }
            let (content, own) = match (line.tag, found) {
                (Tag::Context, Some((at, found))) => {
                    (without_ending(found, placed.start + at == 0), ending(found))
                }
                // Codex's form may name empty lines after the last.
                (Tag::Context, None) => continue,
                _ => (key(line.text.of(text), false), if line.newline { end } else { b"" }),
            };
            written += 1;
            let last = written == kept;
            match (keeps_end && last, own.is_empty() && line.newline) {
                (true, _) => self.line(content, b"")?,
                (false, true) => self.line(content, end)?,
                (false, false) => self.line(content, own)?,
            }
        }
        Ok(())
    }
}

/// Returns a line without its ending and, if it is the first, without the byte order mark.
fn without_ending(line: &[u8], first: bool) -> &[u8] {
    let content = if first { key(line, true) } else { key(line, false) };
    match ending(line) {
        // A carriage return without a line feed is content.
        b"" if line.ends_with(b"\r") => {
            line.get(line.len() - 1 - content.len()..).unwrap_or(content)
        }
        _ => content,
    }
}

/// Returns the ending of added lines: that of the lines around them.
fn new_ending(source: &Source<'_>, placed: &Placed<'_>) -> Result<&'static [u8], String> {
    let from = placed.start.saturating_sub(usize::from(placed.len == 0));
    let around =
        source.from(from).take(placed.len.max(1)).map(ending).filter(|end| !end.is_empty());
    let mut around = around.peekable();
    let before = || from.checked_sub(1).and_then(|line| source.from(line).next()).map(ending);
    let Some(first) = around.peek().copied() else { return Ok(before().unwrap_or(b"\n")) };
    let adds = placed.hunk.lines.iter().any(|line| line.tag == Tag::Added);
    if adds && around.any(|end| end != first) {
        return Err("expected lines with one kind of ending, got `\\n` and `\\r\\n` mixed; name \
                    the endings in the patch"
            .to_owned());
    }
    Ok(first)
}
