//! The parts of a parsed patch. Lines are spans of the patch's text: nothing is copied.

use std::path::Path;
use std::path::PathBuf;

/// The bytes `start..end` of the patch's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn of(self, text: &str) -> &[u8] {
        text.as_bytes().get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The part of a patch that concerns one file.
#[derive(Debug)]
pub(super) struct Section {
    /// Relative to the patched folder.
    pub(super) path: PathBuf,
    pub(super) action: Action,
    /// Whether the file becomes executable or ceases to be; `None` leaves it.
    pub(super) executable: Option<bool>,
    pub(super) edit: Edit,
}

impl Section {
    /// Every path that the section names.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let from = match &self.action {
            Action::Rename { from } | Action::Copy { from } => Some(from.as_path()),
            _ => None,
        };
        std::iter::once(self.path.as_path()).chain(from)
    }
}

/// The effect of a section on the existence of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// The file must not exist.
    Add,
    /// The file must exist. Its whole content is named by the edit if `verified`.
    Delete { verified: bool },
    /// The file must exist.
    Modify,
    /// Diffs without metadata do not say whether an empty file exists.
    AddOrModify,
    /// The content moves here from another path.
    Rename { from: PathBuf },
    /// The content is copied from another path.
    Copy { from: PathBuf },
}

/// The change of a file's content.
#[derive(Debug)]
pub(super) enum Edit {
    Hunks(Vec<Hunk>),
    Binary(Binary),
}

/// Consecutive lines to find and to replace.
#[derive(Debug)]
pub(super) struct Hunk {
    /// The line of the patch at which it begins.
    pub(super) line: usize,
    pub(super) place: Place,
    pub(super) lines: Vec<Line>,
}

/// The stated place of a hunk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// The two line numbers of `@@ -OLD +NEW @@`, which count from 1.
    Numbers { old: u32, new: u32 },
    /// Codex's form.
    Anchor {
        /// The text after `@@ `: a line before the hunk.
        anchor: Option<Span>,
        /// Whether `*** End of File` follows.
        end_of_file: bool,
        /// Whether it begins a section: the order of hunks is that within a section.
        restart: bool,
    },
}

/// A line of a hunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) tag: Tag,
    /// Without the tag and the line feed.
    pub(super) text: Span,
    /// False before `\ No newline at end of file`.
    pub(super) newline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Context,
    Removed,
    Added,
}

impl Hunk {
    /// The lines that the file has before the patch.
    pub(super) fn old(&self) -> impl DoubleEndedIterator<Item = Line> + Clone {
        self.lines.iter().copied().filter(|line| line.tag != Tag::Added)
    }

    /// The numbers of lines before and after.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |tag| self.lines.iter().filter(|line| line.tag != tag).count();
        (count(Tag::Added), count(Tag::Removed))
    }
}

/// `GIT binary patch`.
#[derive(Debug)]
pub(super) struct Binary {
    /// The line of the patch at which it begins.
    pub(super) line: usize,
    /// The object names of the contents before and after, in full.
    pub(super) before: String,
    pub(super) after: String,
    pub(super) delta: bool,
    /// The declared size of the deflated data.
    pub(super) size: u64,
    /// The lines of data.
    pub(super) data: Span,
}
