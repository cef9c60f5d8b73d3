//! [`Source`]: a file's content by lines, and the comparison of its lines with those of a hunk.

use super::section::Line;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// The index keeps the offset of one line in this many: a file of empty lines stays small.
const STEP: usize = 256;

/// How lines are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Equality {
    /// All bytes count.
    Exact,
    /// The file's own line endings, byte order mark and missing last line feed stay as they are.
    Content,
}

/// A file's content by lines.
#[derive(Debug)]
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    index: Vec<usize>,
    lines: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut index = vec![0];
        let mut lines = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            lines += 1;
            if lines % STEP == 0 {
                index.push(end + 1);
            }
        }
        let unterminated = bytes.last().is_some_and(|byte| *byte != b'\n');
        Self { bytes, index, lines: lines + usize::from(unterminated) }
    }

    /// The number of lines.
    pub(super) fn len(&self) -> usize {
        self.lines
    }

    /// Returns the bytes between two offsets.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// Returns the offset of a line that counts from 0; that of the end after the last.
    pub(super) fn offset(&self, line: usize) -> usize {
        let Some(start) = self.index.get(line / STEP) else { return self.bytes.len() };
        let rest = self.bytes.get(*start..).unwrap_or_default();
        match line % STEP {
            0 => *start,
            n => memchr::memchr_iter(b'\n', rest)
                .nth(n - 1)
                .map_or(self.bytes.len(), |at| start + at + 1),
        }
    }

    /// Returns the lines from one that counts from 0, with their endings.
    pub(super) fn from(&self, line: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.slice(self.offset(line), self.bytes.len());
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at_checked(end).filter(|(line, _)| !line.is_empty())?;
            rest = after;
            Some(line)
        })
    }

    /// Returns the first line from `line` at which a hunk's lines differ, with its index among
    /// them; `None` if they are equal.
    pub(super) fn differs(
        &self,
        line: usize,
        old: impl Iterator<Item = Line>,
        text: &str,
        equality: Equality,
    ) -> Option<usize> {
        let mut lines = self.from(line);
        for (at, hunk) in old.enumerate() {
            let equal = lines.next().is_some_and(|found| match equality {
                Equality::Exact => {
                    let (content, end) = (hunk.text.of(text), found.strip_suffix(b"\n"));
                    content == end.unwrap_or(found) && hunk.newline == end.is_some()
                }
                Equality::Content => {
                    let first = line + at == 0;
                    key(found, first) == key(hunk.text.of(text), first)
                        && (hunk.newline || !found.ends_with(b"\n"))
                }
            });
            if !equal {
                return Some(at);
            }
        }
        None
    }

    /// Whether the last line has no line feed.
    pub(super) fn is_unterminated(&self) -> bool {
        self.bytes.last().is_some_and(|byte| *byte != b'\n')
    }

    /// Returns the byte order mark at the begin, or nothing.
    pub(super) fn mark(&self) -> &'a [u8] {
        self.bytes.get(..MARK.len()).filter(|bytes| *bytes == MARK).unwrap_or_default()
    }
}

/// Returns a line without its ending and, if it is a file's first, without a byte order mark.
pub(super) fn key(line: &[u8], first: bool) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if first { line.strip_prefix(MARK).unwrap_or(line) } else { line }
}

/// Returns the ending of a line: `\n`, `\r\n` or nothing.
pub(super) fn ending(line: &[u8]) -> &'static [u8] {
    if line.ends_with(b"\r\n") {
        b"\r\n"
    } else if line.ends_with(b"\n") {
        b"\n"
    } else {
        b""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_number() {
        for lines in [0, 1, 255, 256, 257, 1000] {
            let text: String = (0..lines).map(|n| format!("{n}\n")).collect();
            for text in [text.clone(), format!("{text}last")] {
                let source = Source::new(text.as_bytes());
                assert_eq!(source.len(), text.lines().count());
                for n in [0, 1, 254, 255, 256, 511, 999, 1001, 5000] {
                    let expected: usize = text.split_inclusive('\n').take(n).map(str::len).sum();
                    assert_eq!(source.offset(n), expected, "{lines} {n}");
                    let line = text.split_inclusive('\n').nth(n).map(str::as_bytes);
                    assert_eq!(source.from(n).next(), line);
                }
            }
        }
    }
}
