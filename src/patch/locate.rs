//! [`locate`]: the place of each hunk in a file, or the reason why there is none.
//!
//! A hunk applies where its old lines are, at its stated place, or elsewhere if there is exactly
//! one such place. First all bytes are compared, as git does. If a hunk is not found, the lines'
//! contents are compared without endings and byte order mark, which then stay as the file has them.

use super::budget::Budget;
use super::parse::Patch;
use super::report::Conflict;
use super::search::Places;
use super::search::search;
use super::section::Hunk;
use super::section::Line;
use super::section::Place;
use super::section::Tag;
use super::source::Equality;
use super::source::Source;
use super::source::key;
use crate::error::Error;
use crate::text::excerpt;

/// The limit of lines to compare for one hunk at all places where its lines may be.
const MAX_COMPARED: usize = 1 << 24;

/// The place of a hunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) hunk: &'a Hunk,
    /// The first line in the file, from 0.
    pub(super) start: usize,
    /// The number of lines to replace. Codex's form may name an empty line after the last.
    pub(super) len: usize,
}

/// Where hunks apply, in the order of the file.
#[derive(Debug)]
pub(super) struct Location<'a> {
    pub(super) placed: Vec<Placed<'a>>,
    pub(super) equality: Equality,
}

/// The outcome of a search for hunks: their places, or why one has none.
pub(super) type Located<'a> = Result<Location<'a>, Misfit>;

/// The reason why a hunk does not apply.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The line of the file, from 1, if the hunk states one.
    pub(super) line: Option<u32>,
    pub(super) reason: String,
}

impl Misfit {
    pub(super) fn new(hunk: &Hunk, reason: &str) -> Self {
        let line = match hunk.place {
            Place::Numbers { old, .. } => Some(old),
            Place::Anchor { .. } => None,
        };
        Self { line, reason: format!("hunk at line {} of the patch: {reason}", hunk.line) }
    }

    pub(super) fn at(self, path: &std::path::Path) -> Conflict {
        let path = Some(path.display().to_string());
        Conflict { path, line: self.line, reason: self.reason }
    }
}

/// Finds the places of hunks.
///
/// # Errors
/// Those of [`Budget::work`].
pub(super) fn locate<'a>(
    source: &Source<'_>,
    hunks: &'a [&'a Hunk],
    patch: &Patch,
    budget: &mut Budget,
) -> Result<Located<'a>, Error> {
    let mut finder = Finder { source, patch, places: None };
    budget.work(hunks.iter().map(|hunk| hunk.lines.len()).sum())?;
    let exact = finder.all(hunks, Equality::Exact, budget)?;
    if exact.is_ok() {
        return Ok(exact);
    }
    finder.all(hunks, Equality::Content, budget)
}

struct Finder<'s> {
    source: &'s Source<'s>,
    patch: &'s Patch,
    /// The places of all hunks, once one is not at its stated place.
    places: Option<Places>,
}

impl Finder<'_> {
    fn all<'a>(
        &mut self,
        hunks: &'a [&'a Hunk],
        equality: Equality,
        budget: &mut Budget,
    ) -> Result<Located<'a>, Error> {
        let mut placed: Vec<Placed<'_>> = Vec::with_capacity(hunks.len());
        let (mut end, mut grown) = (0, 0);
        for (at, hunk) in hunks.iter().enumerate() {
            budget.check()?;
            let found = match hunk.place {
                Place::Numbers { old, new } => {
                    let stated = Stated::new(hunk, old, new, grown, self.patch.is_bare);
                    match self.at_stated(hunk, &stated, end, equality) {
                        Some(start) => Ok((start, hunk.old().count())),
                        None => {
                            self.search(hunks, budget)?;
                            self.by_numbers(hunk, at, &stated, end, equality)
                        }
                    }
                }
                Place::Anchor { anchor, end_of_file, restart } => {
                    self.search(hunks, budget)?;
                    let after = if restart { 0 } else { end };
                    let wanted = Anchored { anchor: anchor.is_some(), end_of_file, after };
                    self.by_anchor(hunk, at, &wanted, equality)
                }
            };
            let (start, len) = match found {
                Ok(found) => found,
                Err(reason) => return Ok(Err(Misfit::new(hunk, &reason))),
            };
            placed.push(Placed { hunk, start, len });
            end = start + len;
            let counts = hunk.counts();
            grown += counts.1 as i64 - counts.0 as i64;
        }
        placed.sort_by_key(|one| (one.start, one.len));
        let overlap = placed.windows(2).find_map(|pair| match pair {
            [one, next] if one.start + one.len > next.start => Some(next.hunk),
            _ => None,
        });
        Ok(match overlap {
            Some(hunk) => Err(Misfit::new(hunk, "expected lines that no other hunk changes")),
            None => Ok(Location { placed, equality }),
        })
    }

    /// Searches the file for all hunks, once.
    fn search(&mut self, hunks: &[&Hunk], budget: &mut Budget) -> Result<(), Error> {
        if self.places.is_some() {
            return Ok(());
        }
        let keys = |old: &[Line]| -> Vec<&[u8]> {
            old.iter().map(|line| key(line.text.of(&self.patch.text), false)).collect()
        };
        // Two sequences of a hunk: all old lines, and those without empty lines at the end.
        let mut sequences = Vec::new();
        let mut anchors = Vec::new();
        for hunk in hunks {
            let old: Vec<Line> = hunk.old().collect();
            sequences.push(keys(&old));
            let short = old.get(..old.len() - blanks(hunk)).filter(|short| short.len() < old.len());
            sequences.push(short.map(keys).unwrap_or_default());
            anchors.push(match hunk.place {
                Place::Anchor { anchor, .. } => anchor.map(|anchor| anchor.of(&self.patch.text)),
                Place::Numbers { .. } => None,
            });
        }
        self.places = Some(search(self.source, &sequences, &anchors, budget)?);
        Ok(())
    }

    /// Returns the lines at which a sequence of a search begins, from `after`.
    ///
    /// # Errors
    /// There are too many to compare.
    fn starts(&self, sequence: usize, len: usize, after: usize) -> Result<&[usize], String> {
        let places = self.places.as_ref();
        let starts = places.and_then(|places| places.starts.get(sequence));
        let starts = starts.map(Vec::as_slice).unwrap_or_default();
        let starts =
            starts.get(starts.partition_point(|start| *start < after)..).unwrap_or_default();
        let too_many = places.is_some_and(|places| places.too_many);
        if too_many || starts.len().saturating_mul(len) > MAX_COMPARED {
            return Err("its lines are in too many places; add lines of context".to_owned());
        }
        Ok(starts)
    }
}

/// The number of empty lines of context at the end of a hunk in codex's form: models write them
/// after the last line of a file.
fn blanks(hunk: &Hunk) -> usize {
    let blank = |line: &Line| line.tag == Tag::Context && line.text.start == line.text.end;
    match hunk.place {
        Place::Anchor { .. } => hunk.old().rev().take_while(blank).count(),
        Place::Numbers { .. } => 0,
    }
}

/// The stated place of a hunk of a unified diff.
struct Stated {
    /// The line, from 0; before the hunks above it are applied.
    start: usize,
    /// Whether both numbers of its header agree.
    consistent: bool,
    /// Whether it must begin at the begin of the file.
    begin: bool,
    /// Whether it must end at the end of the file.
    end: bool,
}

impl Stated {
    /// `grown` is the number of lines that the hunks above add; `bare`, that no hunk has context.
    fn new(hunk: &Hunk, old: u32, new: u32, grown: i64, bare: bool) -> Self {
        let (old_count, new_count) = hunk.counts();
        // An empty range names the line before it.
        let from_zero = |start: u32, count| i64::from(start) - i64::from(count > 0);
        let start = from_zero(old, old_count);
        let trailing = hunk.lines.last().is_some_and(|line| line.tag == Tag::Context);
        Self {
            start: usize::try_from(start).unwrap_or_default(),
            consistent: start >= 0 && from_zero(new, new_count) == start + grown,
            // As git: without context on a side, the file begins or ends there.
            begin: old == 0 || old == 1 && !bare,
            end: !bare && !trailing,
        }
    }

    fn allows(&self, start: usize, len: usize, file: usize) -> bool {
        (!self.begin || start == 0) && (!self.end || start + len == file)
    }
}

/// The place of a hunk in codex's form.
struct Anchored {
    anchor: bool,
    end_of_file: bool,
    /// The first line at which it may begin.
    after: usize,
}

impl Finder<'_> {
    /// Whether a hunk's old lines, all but `dropped`, are at a line.
    fn fits(&self, hunk: &Hunk, line: usize, dropped: usize, equality: Equality) -> bool {
        let len = hunk.old().count() - dropped;
        self.source.differs(line, hunk.old().take(len), &self.patch.text, equality).is_none()
    }

    /// Returns the stated place if the hunk is there.
    fn at_stated(
        &self,
        hunk: &Hunk,
        stated: &Stated,
        after: usize,
        equality: Equality,
    ) -> Option<usize> {
        let len = hunk.old().count();
        let inside = stated.start >= after && stated.start + len <= self.source.len();
        let allowed = stated.consistent && stated.allows(stated.start, len, self.source.len());
        (inside && allowed && self.fits(hunk, stated.start, 0, equality)).then_some(stated.start)
    }

    /// Finds a hunk of a unified diff that is not at its stated place.
    fn by_numbers(
        &self,
        hunk: &Hunk,
        at: usize,
        stated: &Stated,
        after: usize,
        equality: Equality,
    ) -> Result<(usize, usize), String> {
        let len = hunk.old().count();
        if len == 0 {
            return Err("expected lines of context around an insertion at another place".to_owned());
        }
        let starts = self.starts(2 * at, len, after)?;
        let fitting = |start: &&usize| {
            stated.allows(**start, len, self.source.len()) && self.fits(hunk, **start, 0, equality)
        };
        let found: Vec<usize> = starts.iter().filter(fitting).copied().take(4).collect();
        match found.as_slice() {
            [only] => Ok((*only, len)),
            [] => Err(self.difference(hunk, stated, starts)),
            several => Err(ambiguous(several)),
        }
    }

    /// Describes why a hunk is not at its stated place.
    fn difference(&self, hunk: &Hunk, stated: &Stated, starts: &[usize]) -> String {
        let len = hunk.old().count();
        if let Some(start) = starts.first() {
            let place =
                match (stated.begin && *start > 0, stated.end && start + len < self.source.len()) {
                    (true, _) => "at the begin of the file, as it has no line before",
                    (_, true) => "at the end of the file, as it has no context after",
                    _ => "after the hunk before it, with the same line endings",
                };
            return format!("expected its lines {place}, got line {}", start + 1);
        }
        let start = if stated.begin { 0 } else { stated.start };
        let at = self
            .source
            .differs(start, hunk.old(), &self.patch.text, Equality::Content)
            .unwrap_or(0);
        let wanted =
            hunk.old().nth(at).map(|line| line.text.of(&self.patch.text)).unwrap_or_default();
        let quote = |line: &[u8]| excerpt(&String::from_utf8_lossy(key(line, false)));
        let found = self.source.from(start + at).next().map_or("the end of the file".into(), quote);
        format!("expected {} at line {}, got {found}", quote(wanted), start + at + 1)
    }

    /// Finds a hunk in codex's form. Returns its first line and its number of lines.
    fn by_anchor(
        &self,
        hunk: &Hunk,
        at: usize,
        wanted: &Anchored,
        equality: Equality,
    ) -> Result<(usize, usize), String> {
        let anchors = match wanted.anchor {
            true => Some(self.anchors(at, wanted.after)?),
            false => None,
        };
        let len = hunk.old().count();
        if len == 0 && equality == Equality::Exact {
            // Only the lines around tell how the new ones end.
            return Err(String::new());
        }
        if len == 0 {
            return match anchors.as_deref() {
                _ if wanted.end_of_file => Ok((self.source.len(), 0)),
                Some([only]) => Ok((only + 1, 0)),
                Some(several) => Err(ambiguous(several)),
                None if self.source.len() == 0 => Ok((0, 0)),
                None => {
                    Err("expected lines of context, `@@ LINE` or `*** End of File` to tell where \
                             to insert"
                        .to_owned())
                }
            };
        }
        for (sequence, dropped) in [(2 * at, 0), (2 * at + 1, blanks(hunk))] {
            let len = len - dropped;
            let starts = self.starts(sequence, len, wanted.after)?;
            let fitting = |start: &&usize| {
                (!wanted.end_of_file || **start + len == self.source.len())
                    && self.fits(hunk, **start, dropped, equality)
            };
            let found: Vec<usize> = starts.iter().filter(fitting).copied().collect();
            let found = match &anchors {
                Some(anchors) => after_anchors(&found, anchors),
                None => found,
            };
            match found.as_slice() {
                [only] => return Ok((*only, len)),
                [] => {}
                several => return Err(ambiguous(several)),
            }
        }
        let first =
            hunk.old().next().map(|line| line.text.of(&self.patch.text)).unwrap_or_default();
        let near = self
            .source
            .from(0)
            .position(|line| key(line, false).trim_ascii() == first.trim_ascii());
        let near = near.map_or(String::new(), |line| {
            format!(" (line {} is similar: white space and all lines must be equal)", line + 1)
        });
        let first = excerpt(&String::from_utf8_lossy(first));
        Err(format!("expected to find its lines, which begin with {first}, got none{near}"))
    }

    /// Returns the lines that equal a hunk's anchor, exactly if there are such.
    fn anchors(&self, at: usize, after: usize) -> Result<Vec<usize>, String> {
        let all = self.places.as_ref().and_then(|places| places.anchors.get(at));
        let all = all.map(Vec::as_slice).unwrap_or_default();
        let all = || all.iter().filter(|(line, _)| *line >= after);
        let exact: Vec<usize> = all().filter(|(_, exact)| *exact).map(|(line, _)| *line).collect();
        let found = match exact.is_empty() {
            true => all().map(|(line, _)| *line).collect(),
            false => exact,
        };
        if found.is_empty() {
            return Err("expected to find the line after `@@`, got none".to_owned());
        }
        Ok(found)
    }
}

/// Returns the first place after each anchor, or at it: some hunks repeat their anchor.
fn after_anchors(starts: &[usize], anchors: &[usize]) -> Vec<usize> {
    let first = |from: usize| {
        let at = starts.partition_point(|start| *start < from);
        starts.get(at).copied()
    };
    let mut found: Vec<usize> =
        anchors.iter().filter_map(|anchor| first(anchor + 1).or_else(|| first(*anchor))).collect();
    found.dedup();
    found
}

fn ambiguous(starts: &[usize]) -> String {
    let lines: Vec<String> = starts.iter().take(4).map(|start| (start + 1).to_string()).collect();
    let more = if starts.len() > lines.len() { ", …" } else { "" };
    format!("its place is ambiguous: lines {}{more}; add lines of context", lines.join(", "))
}
