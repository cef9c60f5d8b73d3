//! [`search`]: finds many sequences of lines in one pass over a file (Aho-Corasick, with lines for
//! letters), in time linear in the sizes of the file and the patch.

use std::collections::HashMap;

use super::budget::Budget;
use super::source::Source;
use super::source::key;
use crate::error::Error;

/// The limit of all places that are remembered. A hunk needs one.
const MAX_PLACES: usize = 1 << 16;

/// The time limit is checked each time after this many lines.
const LINES_PER_CHECK: usize = 1 << 14;

/// The lines at which each sequence begins, from 0, in order.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By sequence.
    pub(super) starts: Vec<Vec<usize>>,
    /// By anchor: the line, and whether it is equal including white space at its ends.
    pub(super) anchors: Vec<Vec<(usize, bool)>>,
    /// Whether there are more places than are remembered.
    pub(super) too_many: bool,
}

/// The states of the automaton; a state is the first lines of a sequence, 0 is none.
struct Automaton<'a> {
    /// The lines of all sequences.
    ids: HashMap<&'a [u8], u32>,
    /// The states after another line: (state, line) to state.
    next: HashMap<(u32, u32), u32>,
    states: Vec<State>,
    /// The sequences that end at a state.
    ends: HashMap<u32, Vec<usize>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The state of the longest proper suffix.
    suffix: u32,
    /// The longest proper suffix at which a sequence ends.
    shorter: u32,
    depth: u32,
}

/// Finds sequences of keys of lines ([`key`]) and single lines that equal an anchor up to white
/// space at their ends.
///
/// # Errors
/// Those of [`Budget::work`].
pub(super) fn search(
    source: &Source<'_>,
    sequences: &[Vec<&[u8]>],
    anchors: &[Option<&[u8]>],
    budget: &mut Budget,
) -> Result<Places, Error> {
    budget.work(source.offset(source.len()))?;
    let automaton = Automaton::new(sequences);
    let mut by_anchor: HashMap<&[u8], Vec<(usize, &[u8])>> = HashMap::new();
    for (at, anchor) in anchors.iter().enumerate() {
        if let Some(anchor) = anchor {
            by_anchor.entry(anchor.trim_ascii()).or_default().push((at, anchor));
        }
    }
    // Most lines are recognised as others by their first byte.
    let mut begins = [false; 256];
    for line in automaton.ids.keys() {
        if let Some(begins) = begins.get_mut(first(line)) {
            *begins = true;
        }
    }
    let mut places = Places {
        starts: vec![Vec::new(); sequences.len()],
        anchors: vec![Vec::new(); anchors.len()],
        too_many: false,
    };
    let (mut at, mut found) = (0, 0);
    for (number, line) in source.from(0).enumerate() {
        if number % LINES_PER_CHECK == 0 {
            budget.check()?;
        }
        let content = key(line, number == 0);
        let known = begins.get(first(content)).copied().unwrap_or_default();
        let id = if known { automaton.ids.get(content) } else { None };
        at = id.map_or(0, |id| automaton.step(at, *id));
        for (sequence, depth) in automaton.ends_at(at) {
            if let Some(starts) = places.starts.get_mut(sequence) {
                starts.push(number + 1 - depth);
                found += 1;
            }
        }
        let equal = if by_anchor.is_empty() { None } else { by_anchor.get(content.trim_ascii()) };
        for (anchor, text) in equal.into_iter().flatten() {
            if let Some(lines) = places.anchors.get_mut(*anchor) {
                lines.push((number, *text == content));
                found += 1;
            }
        }
        if found > MAX_PLACES {
            places.too_many = true;
            break;
        }
    }
    Ok(places)
}

/// Returns the first byte of a line's content; that of an empty line is its line feed.
fn first(line: &[u8]) -> usize {
    usize::from(line.first().copied().unwrap_or(b'\n'))
}

impl<'a> Automaton<'a> {
    fn new(sequences: &[Vec<&'a [u8]>]) -> Self {
        let mut automaton = Self {
            ids: HashMap::new(),
            next: HashMap::new(),
            states: vec![State::default()],
            ends: HashMap::new(),
        };
        let mut edges = Vec::new();
        for (sequence, lines) in sequences.iter().enumerate() {
            let mut at = 0;
            for (depth, line) in (1..).zip(lines) {
                let new_id = automaton.ids.len() as u32;
                let id = *automaton.ids.entry(line).or_insert(new_id);
                let new = automaton.states.len() as u32;
                let to = *automaton.next.entry((at, id)).or_insert(new);
                if to == new {
                    automaton.states.push(State { depth, ..State::default() });
                    edges.push((depth, at, id, to));
                }
                at = to;
            }
            if at != 0 {
                automaton.ends.entry(at).or_default().push(sequence);
            }
        }
        // By depth: the suffix of a state is shorter than the state.
        edges.sort_unstable();
        for (_, from, id, to) in edges {
            let suffix =
                if from == 0 { 0 } else { automaton.step(automaton.state(from).suffix, id) };
            let ends = automaton.ends.contains_key(&suffix);
            let shorter = if ends { suffix } else { automaton.state(suffix).shorter };
            if let Some(state) = automaton.states.get_mut(to as usize) {
                (state.suffix, state.shorter) = (suffix, shorter);
            }
        }
        automaton
    }

    fn state(&self, at: u32) -> State {
        self.states.get(at as usize).copied().unwrap_or_default()
    }

    /// Returns the state after a line.
    fn step(&self, mut at: u32, id: u32) -> u32 {
        loop {
            match self.next.get(&(at, id)) {
                Some(next) => return *next,
                None if at == 0 => return 0,
                None => at = self.state(at).suffix,
            }
        }
    }

    /// Returns the sequences that end at a state, with their lengths.
    fn ends_at(&self, at: u32) -> impl Iterator<Item = (usize, usize)> {
        let here = if self.ends.contains_key(&at) { at } else { self.state(at).shorter };
        let states = std::iter::successors(Some(here), |at| Some(self.state(*at).shorter));
        states.take_while(|at| *at != 0).flat_map(|at| {
            let depth = self.state(at).depth as usize;
            self.ends.get(&at).into_iter().flatten().map(move |sequence| (*sequence, depth))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::budget::AbandonOnDrop;
    use super::*;

    fn found(text: &str, sequences: &[Vec<&[u8]>]) -> Vec<Vec<usize>> {
        let client = AbandonOnDrop::default();
        let source = Source::new(text.as_bytes());
        search(&source, sequences, &[], &mut Budget::new(&client)).unwrap().starts
    }

    #[test]
    fn anchors_ignore_white_space_at_their_ends() {
        let client = AbandonOnDrop::default();
        let source = Source::new(b"f\n  f\t\r\ng\nf");
        let places = search(&source, &[], &[Some(b"f")], &mut Budget::new(&client)).unwrap();
        assert_eq!(places.anchors, [[(0, true), (1, false), (3, true)]]);
    }

    #[test]
    fn places_are_bounded() {
        let client = AbandonOnDrop::default();
        let text = "a\n".repeat(MAX_PLACES + 1);
        let source = Source::new(text.as_bytes());
        let places = search(&source, &[vec![b"a"]], &[], &mut Budget::new(&client)).unwrap();
        assert!(places.too_many);
    }

    proptest! {
        #[test]
        fn equals_the_naive_search(
            lines in prop::collection::vec("[ab]{0,1}", 0..40),
            sequences in prop::collection::vec(prop::collection::vec("[abc]{0,1}", 1..4), 0..6),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let keys: Vec<Vec<&[u8]>> =
                sequences.iter().map(|lines| lines.iter().map(|line| line.as_bytes()).collect()).collect();
            let naive: Vec<Vec<usize>> = sequences
                .iter()
                .map(|sequence| {
                    let windows = lines.windows(sequence.len()).enumerate();
                    windows.filter(|(_, window)| window == sequence).map(|(at, _)| at).collect()
                })
                .collect();
            prop_assert_eq!(found(&text, &keys), naive);
        }
    }
}
