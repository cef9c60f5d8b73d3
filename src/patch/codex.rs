//! Parses codex's own form, `*** Begin Patch`.
//!
//! Core's parser decides what is valid. This one keeps what core's drops: which lines are context,
//! and their places in the patch.

use std::path::PathBuf;

use codex_gateway_engine::patch::CodexPatch;

use super::section::Action;
use super::section::Edit;
use super::section::Hunk;
use super::section::Line;
use super::section::Place;
use super::section::Section;
use super::section::Span;
use super::section::Tag;
use super::unified::Ranges;
use super::unified::error_at;
use crate::error::Error;

/// Whether the text is in codex's form, judged by its first line.
pub(super) fn is(text: &str) -> bool {
    text.trim_start().lines().next().is_some_and(|line| line.trim_end() == "*** Begin Patch")
}

/// Parses a patch. `relative` checks a path.
///
/// # Errors
/// `InvalidRequest` names the line and the reason.
pub(super) fn parse(
    text: &str,
    relative: fn(&str) -> Result<PathBuf, Error>,
) -> Result<Vec<Section>, Error> {
    let valid = CodexPatch::parse(text).map_err(|error| Error::from(error).at_field("patch"))?;
    let mut parser = Parser { relative, sections: Vec::new() };
    let begin = text.len() - text.trim_start().len();
    let mut at = begin;
    let first = 1 + text.get(..begin).unwrap_or_default().matches('\n').count();
    let body = text.get(begin..).unwrap_or_default().trim_end();
    let body = body.strip_suffix("*** End Patch").unwrap_or(body);
    for (number, line) in (first..).zip(body.split_inclusive('\n')) {
        let length = line.len();
        let line = line.strip_suffix('\n').unwrap_or(line);
        parser.line(Placed { line: line.strip_suffix('\r').unwrap_or(line), at, number })?;
        at += length;
    }
    if parser.sections.is_empty() {
        return Err(Error::invalid("patch: expected a file to change, got none"));
    }
    if parser.sections.len() != valid.sections() {
        return Err(Error::invalid("patch: expected markers in lines of their own"));
    }
    Ok(parser.sections)
}

struct Parser {
    relative: fn(&str) -> Result<PathBuf, Error>,
    sections: Vec<Section>,
}

/// A line with its place.
#[derive(Clone, Copy)]
struct Placed<'a> {
    line: &'a str,
    /// The offset in the text.
    at: usize,
    /// The number, from 1.
    number: usize,
}

impl Placed<'_> {
    /// Returns the span of bytes of the line.
    fn span(&self, from: usize, to: usize) -> Result<Span, Error> {
        let offset = |at: usize| {
            u32::try_from(self.at + at)
                .map_err(|_| error_at(self.number, "expected a smaller patch"))
        };
        Ok(Span { start: offset(from.min(to))?, end: offset(to)? })
    }
}

impl Parser {
    fn line(&mut self, placed: Placed<'_>) -> Result<(), Error> {
        let updates = self.sections.last().is_some_and(|section| section.action.updates());
        // In an update, an indented marker is a line of context.
        let marker = if updates { placed.line.trim_end() } else { placed.line.trim() };
        let begun = if let Some(path) = marker.strip_prefix("*** Add File: ") {
            Some((path, Action::Add))
        } else if let Some(path) = marker.strip_prefix("*** Delete File: ") {
            Some((path, Action::Delete { verified: false }))
        } else {
            marker.strip_prefix("*** Update File: ").map(|path| (path, Action::Modify))
        };
        if let Some((path, action)) = begun {
            let (path, edit) = ((self.relative)(path)?, Edit::Hunks(Vec::new()));
            self.sections.push(Section { path, action, executable: None, edit });
            return Ok(());
        }
        let Some(section) = self.sections.last_mut() else { return Ok(()) };
        match (&section.action, marker.strip_prefix("*** Move to: "), &mut section.edit) {
            (Action::Modify, Some(to), Edit::Hunks(hunks)) if hunks.is_empty() => {
                let to = (self.relative)(to)?;
                // A move onto itself is none.
                if to != section.path {
                    let from = std::mem::replace(&mut section.path, to);
                    section.action = Action::Rename { from };
                }
                Ok(())
            }
            (Action::Add, _, Edit::Hunks(hunks)) => added(hunks, placed),
            (Action::Modify | Action::Rename { .. }, _, Edit::Hunks(hunks)) => {
                updated(hunks, marker, placed)
            }
            _ => Ok(()),
        }
    }
}

/// Reads a line of a new file.
fn added(hunks: &mut Vec<Hunk>, placed: Placed<'_>) -> Result<(), Error> {
    if hunks.is_empty() {
        let place = Place::Numbers { old: 0, new: 1 };
        hunks.push(Hunk { line: placed.number, place, lines: Vec::new() });
    }
    let text = placed.span(1, placed.line.len())?;
    if let Some(hunk) = hunks.last_mut() {
        hunk.lines.push(Line { tag: Tag::Added, text, newline: true });
    }
    Ok(())
}

/// Reads a line of an update: a marker or a line of a hunk.
fn updated(hunks: &mut Vec<Hunk>, marker: &str, placed: Placed<'_>) -> Result<(), Error> {
    let restart = hunks.is_empty();
    if marker == "@@" || marker.starts_with("@@ ") {
        // Models also write the line numbers of unified diffs, which are no line of the file.
        let anchor = match marker.strip_prefix("@@ ") {
            Some(_) if Ranges::parse(marker).is_none() => Some(placed.span(3, marker.len())?),
            _ => None,
        };
        let place = Place::Anchor { anchor, end_of_file: false, restart };
        hunks.push(Hunk { line: placed.number, place, lines: Vec::new() });
        return Ok(());
    }
    if restart {
        let place = Place::Anchor { anchor: None, end_of_file: false, restart };
        hunks.push(Hunk { line: placed.number, place, lines: Vec::new() });
    }
    let Some(hunk) = hunks.last_mut() else { return Ok(()) };
    if let Place::Anchor { end_of_file, .. } = &mut hunk.place {
        // Empty lines may follow the marker.
        if *end_of_file || marker == "*** End of File" {
            *end_of_file = true;
            return Ok(());
        }
    }
    let tag = match placed.line.as_bytes().first() {
        None | Some(b' ') => Tag::Context,
        Some(b'-') => Tag::Removed,
        Some(b'+') => Tag::Added,
        Some(_) => return Err(error_at(placed.number, "expected ` `, `-` or `+` first")),
    };
    let text = placed.span(1, placed.line.len())?;
    hunk.lines.push(Line { tag, text, newline: true });
    Ok(())
}

impl Action {
    /// Whether lines of hunks may follow.
    fn updates(&self) -> bool {
        matches!(self, Self::Modify | Self::Rename { .. })
    }
}
