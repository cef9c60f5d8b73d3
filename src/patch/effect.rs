//! [`effect`]: the new contents of the files that a patch names. Nothing is written.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use super::binary;
use super::budget::Budget;
use super::locate::Misfit;
use super::locate::Placed;
use super::locate::locate;
use super::parse::Patch;
use super::report::Conflict;
use super::section::Action;
use super::section::Edit;
use super::section::Hunk;
use super::section::Place;
use super::section::Section;
use super::source::Source;
use super::splice::create;
use super::splice::splice;
use super::tree::Edits;
use super::tree::File;
use super::tree::Files;
use crate::error::Error;

/// The effect of a patch.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// The files that differ from before.
    pub(super) edits: Edits,
    pub(super) conflicts: Vec<Conflict>,
    /// A line for each hunk that is not at its stated place.
    pub(super) notes: Vec<String>,
}

/// Returns the effect of a patch on `before`: the files that it names and that exist.
///
/// # Errors
/// `InvalidRequest` if a binary patch is invalid; those of [`Budget::result`].
pub(super) fn effect(patch: &Patch, before: &Files, budget: &mut Budget) -> Result<Effect, Error> {
    // As git: a path that the patch vacates may be written before it does.
    let vacated = patch.sections.iter().filter_map(|section| match &section.action {
        Action::Rename { from } => Some(from.as_path()),
        Action::Delete { .. } => Some(section.path.as_path()),
        _ => None,
    });
    let mut state = State {
        patch,
        before,
        now: BTreeMap::new(),
        vacated: if patch.is_codex { BTreeSet::new() } else { vacated.collect() },
        effect: Effect::default(),
    };
    let mut sections = patch.sections.as_slice();
    while let Some((section, rest)) = sections.split_first() {
        budget.check()?;
        // Sections of one file that follow each other are searched for together, if they can be.
        let same = sections.iter().take_while(|next| {
            patch.is_codex
                && next.action == Action::Modify
                && section.action == Action::Modify
                && next.path == section.path
        });
        let same = same.count().max(1);
        let group = sections.get(..same).unwrap_or_default();
        if same > 1 && state.modify(group, budget)?.is_ok() {
            sections = sections.get(same..).unwrap_or_default();
            continue;
        }
        sections = rest;
        if let Err(conflict) = state.apply(section, budget)? {
            state.effect.conflicts.push(conflict);
        }
    }
    let State { now, mut effect, .. } = state;
    effect.edits = now;
    effect.edits.retain(|path, edit| edit.as_ref() != before.get(path));
    Ok(effect)
}

struct State<'a> {
    patch: &'a Patch,
    before: &'a Files,
    /// The files that the sections so far have written or removed.
    now: Edits,
    vacated: BTreeSet<&'a Path>,
    effect: Effect,
}

type Outcome<T> = Result<Result<T, Conflict>, Error>;

impl State<'_> {
    /// Returns a file as the sections so far leave it.
    fn get(&self, path: &Path) -> Option<&File> {
        self.now.get(path).map_or_else(|| self.before.get(path), Option::as_ref)
    }

    fn apply(&mut self, section: &Section, budget: &mut Budget) -> Outcome<()> {
        match &section.action {
            Action::Add => self.add(section, budget),
            Action::AddOrModify if self.get(&section.path).is_none() => self.add(section, budget),
            Action::AddOrModify | Action::Modify => {
                self.modify(std::slice::from_ref(section), budget)
            }
            Action::Delete { verified } => self.delete(section, *verified, budget),
            Action::Rename { from } => self.transfer(section, from, true, budget),
            Action::Copy { from } => self.transfer(section, from, false, budget),
        }
    }

    /// A conflict if a file is in the way of a new one.
    fn vacant(&self, path: &Path) -> Result<(), Conflict> {
        let will_be = self.vacated.contains(path) && !self.now.contains_key(path);
        if self.get(path).is_some() && !will_be {
            return Err(conflict(path, "a file with this path already exists"));
        }
        Ok(())
    }

    fn add(&mut self, section: &Section, budget: &mut Budget) -> Outcome<()> {
        if let Err(conflict) = self.vacant(&section.path) {
            return Ok(Err(conflict));
        }
        let bytes = match &section.edit {
            Edit::Hunks(hunks) => {
                create(hunks, &self.patch.text, budget)?.map_err(|misfit| misfit.at(&section.path))
            }
            Edit::Binary(binary) => binary::apply(binary, None, &self.patch.text, budget)?
                .map_err(|reason| conflict(&section.path, &reason)),
        };
        Ok(bytes.map(|bytes| {
            let mode = if section.executable == Some(true) { 0o755 } else { 0o644 };
            self.now.insert(section.path.clone(), Some(File { bytes, mode }));
        }))
    }

    /// Applies the sections of one file, which see it as it is before the first.
    fn modify(&mut self, sections: &[Section], budget: &mut Budget) -> Outcome<()> {
        let Some(first) = sections.first() else { return Ok(Ok(())) };
        let Some(file) = self.get(&first.path) else {
            return Ok(Err(conflict(&first.path, "no such file")));
        };
        let edits: Vec<&Edit> = sections.iter().map(|section| &section.edit).collect();
        let (new, notes) = match edit(file, &edits, first, self.patch, budget)? {
            Ok(new) => new,
            Err(conflict) => return Ok(Err(conflict)),
        };
        let mode = with_executable(file.mode, first.executable);
        self.effect.notes.extend(notes);
        self.now.insert(first.path.clone(), Some(File { bytes: new, mode }));
        Ok(Ok(()))
    }

    fn delete(&mut self, section: &Section, verified: bool, budget: &mut Budget) -> Outcome<()> {
        let path = &section.path;
        let Some(file) = self.get(path) else { return Ok(Err(conflict(path, "no such file"))) };
        if verified {
            let rest = edit(file, &[&section.edit], section, self.patch, budget)?;
            match rest {
                Err(conflict) => return Ok(Err(conflict)),
                Ok((rest, _)) if !rest.is_empty() => {
                    let reason = "the file has content that the patch does not remove";
                    return Ok(Err(conflict(path, reason)));
                }
                Ok(_) => {}
            }
        }
        self.now.insert(path.clone(), None);
        Ok(Ok(()))
    }

    /// Renames or copies a file.
    fn transfer(
        &mut self,
        section: &Section,
        from: &Path,
        removes: bool,
        budget: &mut Budget,
    ) -> Outcome<()> {
        // Git's moves do not depend on their order: they see the files as they are before all.
        let sees_original = !self.vacated.is_empty() || !removes;
        let source = if sees_original { self.before.get(from) } else { self.get(from) };
        let Some(file) = source else { return Ok(Err(conflict(from, "no such file"))) };
        if let Err(conflict) = self.vacant(&section.path) {
            return Ok(Err(conflict));
        }
        let mode = with_executable(file.mode, section.executable);
        let (bytes, notes) = match edit(file, &[&section.edit], section, self.patch, budget)? {
            Ok(new) => new,
            Err(conflict) => return Ok(Err(Conflict { path: Some(display(from)), ..conflict })),
        };
        self.effect.notes.extend(notes);
        self.now.insert(section.path.clone(), Some(File { bytes, mode }));
        if removes && (!sees_original || !self.now.contains_key(from)) {
            self.now.insert(from.to_owned(), None);
        }
        Ok(Ok(()))
    }
}

/// Returns the new content of a file, and notes about hunks at other places than stated.
fn edit(
    file: &File,
    edits: &[&Edit],
    section: &Section,
    patch: &Patch,
    budget: &mut Budget,
) -> Outcome<(Vec<u8>, Vec<String>)> {
    let path = &section.path;
    if let [Edit::Binary(binary)] = edits {
        let new = binary::apply(binary, Some(&file.bytes), &patch.text, budget)?;
        return Ok(new.map(|new| (new, Vec::new())).map_err(|reason| conflict(path, &reason)));
    }
    let hunks: Vec<&Hunk> = edits
        .iter()
        .flat_map(|edit| match edit {
            Edit::Hunks(hunks) => hunks.as_slice(),
            Edit::Binary(_) => &[],
        })
        .collect();
    let source = Source::new(&file.bytes);
    budget.work(file.bytes.len())?;
    let at = |misfit: Misfit| misfit.at(path);
    let location = match locate(&source, &hunks, patch, budget)? {
        Ok(location) => location,
        Err(misfit) => return Ok(Err(at(misfit))),
    };
    let notes = location.placed.iter().filter_map(|placed| note(path, placed)).collect();
    let new = splice(&source, &location, &patch.text, budget)?;
    Ok(new.map(|new| (new, notes)).map_err(at))
}

/// Says where a hunk applies, if not where it states.
fn note(path: &Path, placed: &Placed<'_>) -> Option<String> {
    let (hunk, line) = (placed.hunk, placed.start + 1);
    let other = match hunk.place {
        Place::Numbers { old, .. } => placed.len > 0 && old as usize != line,
        Place::Anchor { .. } => true,
    };
    other.then(|| {
        format!("{}: hunk at line {} of the patch applies at line {line}", display(path), hunk.line)
    })
}

fn with_executable(mode: u32, executable: Option<bool>) -> u32 {
    match executable {
        // Git records only whether a file is executable.
        Some(true) if mode & 0o111 == 0 => mode | 0o111,
        Some(false) => mode & !0o111,
        _ => mode,
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn conflict(path: &Path, reason: &str) -> Conflict {
    Conflict { path: Some(display(path)), line: None, reason: reason.to_owned() }
}

/// Returns renames of a patch: from, to.
pub(super) fn renames(sections: &[Section]) -> Vec<(PathBuf, PathBuf)> {
    let rename = |section: &Section| match &section.action {
        Action::Rename { from } => Some((from.clone(), section.path.clone())),
        _ => None,
    };
    sections.iter().filter_map(rename).collect()
}
