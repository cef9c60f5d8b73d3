//! Recorded turns, a page at a time: the file is read twice, and only the page is in memory.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::RolloutItem;

use super::item;
use super::lines;
use super::whole;
use crate::history::HistoryPage;
use crate::history::TurnFold;

/// Reads at most `limit` turns after the turn `after`, oldest first. `None` if no such turn is
/// recorded. Blocks.
///
/// # Errors
/// Propagates I/O errors.
pub(in crate::codex) fn page(
    path: &Path,
    after: Option<&str>,
    limit: usize,
) -> io::Result<Option<HistoryPage>> {
    let items = || -> io::Result<_> {
        let lines = lines(path)?;
        Ok(lines.filter_map(|line| match line {
            Ok(line) => whole(&line).and_then(item).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    };
    let mut order = Order::default();
    for item in items()? {
        order.add(&item?);
    }
    let turns = order.turns;
    let begin = match after {
        None => 0,
        Some(after) => match turns.iter().position(|(_, id, _)| id == after) {
            Some(at) => at + 1,
            None => return Ok(None),
        },
    };
    let wanted: Vec<_> = turns.iter().skip(begin).take(limit).collect();
    let next = (begin + wanted.len() < turns.len())
        .then(|| wanted.last().map(|(_, id, _)| id.clone()))
        .flatten();
    let wanted: HashSet<usize> = wanted.iter().map(|(number, _, _)| *number).collect();
    let mut fold = TurnFold::default();
    let mut number = 0;
    for item in items()? {
        let item = item?;
        if is_start(&item) {
            number += 1;
        }
        if wanted.contains(&number)
            && !matches!(item, RolloutItem::EventMsg(EventMsg::ThreadRolledBack(_)))
        {
            fold.add(&item);
        }
    }
    Ok(Some(HistoryPage { turns: fold.turns, next }))
}

fn is_start(item: &RolloutItem) -> bool {
    matches!(item, RolloutItem::EventMsg(EventMsg::TurnStarted(_)))
}

/// The turns that were not rolled back: their numbers, their ids, and whether they have a prompt.
#[derive(Default)]
struct Order {
    started: usize,
    turns: Vec<(usize, String, bool)>,
}

impl Order {
    fn add(&mut self, item: &RolloutItem) {
        match item {
            RolloutItem::EventMsg(EventMsg::TurnStarted(started)) => {
                self.started += 1;
                self.turns.push((self.started, started.turn_id.clone(), false));
            }
            RolloutItem::EventMsg(EventMsg::UserMessage(_)) => {
                if let Some((_, _, has_prompt)) = self.turns.last_mut() {
                    *has_prompt = true;
                }
            }
            RolloutItem::EventMsg(EventMsg::ThreadRolledBack(back)) => {
                for _ in 0..back.num_turns {
                    let prompt = self.turns.iter().rposition(|(_, _, has_prompt)| *has_prompt);
                    let Some(at) = prompt else { break };
                    self.turns.truncate(at);
                }
            }
            _ => {}
        }
    }
}
