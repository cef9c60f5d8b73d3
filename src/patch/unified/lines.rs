//! [`Lines`]: the lines of a patch with their places.

use crate::error::Error;
use crate::patch::section::Span;

/// A cursor over the lines of a patch.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    /// The number of the next line, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, number: 1 }
    }

    /// The number of the next line, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The offset of the next line.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Returns the next line without its line feed; `None` at the end.
    pub(super) fn peek(&self) -> Option<&'a str> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        Some(rest.split_once('\n').map_or(rest, |(line, _)| line))
    }

    /// Returns the next header line: without a carriage return either.
    pub(super) fn peek_header(&self) -> Option<&'a str> {
        self.peek().map(|line| line.strip_suffix('\r').unwrap_or(line))
    }

    /// Returns the header line after the next one.
    pub(super) fn peek_second(&self) -> Option<&'a str> {
        let mut ahead = self.clone();
        ahead.next()?;
        ahead.peek_header()
    }

    /// Returns the span of the next line from its byte `skip`, and passes the line.
    pub(super) fn take(&mut self, skip: usize) -> Option<Span> {
        let start = self.at;
        let line = self.next()?;
        let span = |offset: usize| u32::try_from(offset).ok();
        let end = start + line.len();
        Some(Span { start: span((start + skip).min(end))?, end: span(end)? })
    }

    /// An error at the next line.
    pub(super) fn error(&self, detail: &str) -> Error {
        error_at(self.number, detail)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let line = self.peek()?;
        self.at = (self.at + line.len() + 1).min(self.text.len());
        self.number += 1;
        Some(line)
    }
}

/// An error at a line of the patch.
pub(in crate::patch) fn error_at(line: usize, detail: &str) -> Error {
    Error::invalid(format!("patch: line {line}: {detail}"))
}
