//! One turn after another, system by system in turn (A B A B): a first turn, a warm turn, one with a
//! tool call, a long one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::Plan;
use crate::plan::SHORT;
use crate::plan::TOOL;
use crate::seen::Figures;
use crate::seen::Seen;
use crate::seen::millis;
use crate::system::Conversation;
use crate::system::System;
use crate::system::close;
use crate::system::first_turn;
use crate::system::turn;
use crate::which::Field;
use crate::which::Which;

/// What each system's turns looked like, round by round.
#[derive(Debug, Default)]
pub(crate) struct Rounds(pub(crate) BTreeMap<Which, Vec<Seen>>);

impl Rounds {
    pub(crate) fn figures(&self, which: Which, pick: fn(&Seen) -> Duration) -> Option<Figures> {
        let seen = self.0.get(&which).filter(|seen| !seen.is_empty())?;
        Some(seen.iter().map(|seen| millis(pick(seen))).collect())
    }

    pub(crate) fn median(&self, which: Which, pick: fn(&Seen) -> Duration) -> Option<f64> {
        Some(self.figures(which, pick)?.median())
    }

    /// What the first takes longer than the second, of each round: a machine that slows down on the way
    /// does not count.
    pub(crate) fn share(&self, which: Which, floor: Which) -> Option<f64> {
        let (above, below) = (self.0.get(&which)?, self.0.get(&floor)?);
        let pairs = above.iter().zip(below);
        let shares: Figures =
            pairs.map(|(above, below)| millis(above.last) - millis(below.last)).collect();
        (shares.len() > 0).then(|| shares.median())
    }

    fn push(&mut self, which: Which, seen: Seen) {
        self.0.entry(which).or_default().push(seen);
    }
}

/// The kinds of turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The first of a new conversation, which counts.
    Cold,
    /// In one conversation, round after round.
    Warm,
    /// The second of a conversation of its own, so that what was said before stays as short.
    Second,
}

/// All four.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) cold: Rounds,
    pub(crate) warm: Rounds,
    pub(crate) tool: Rounds,
    pub(crate) long: Rounds,
}

/// Runs them.
///
/// # Errors
/// The gateway or a floor fails; a peer that fails is left out from there on.
pub(crate) async fn measure(field: &Field, plan: &Plan) -> anyhow::Result<Turns> {
    let all = |_: Which| true;
    let streams = |which: Which| which.keeps();
    let long = plan.long();
    println!("a first turn, {} rounds", plan.rounds);
    let cold = rounds(field, all, |_| Turn::Cold, SHORT, plan.rounds, plan).await?;
    println!("a warm turn, {} rounds", plan.rounds);
    let warm = rounds(field, streams, |_| Turn::Warm, SHORT, plan.rounds, plan).await?;
    println!("a turn with a tool call, {} rounds", plan.tool_rounds);
    let kind = |which: Which| if which.keeps() { Turn::Warm } else { Turn::Cold };
    let tool = rounds(field, all, kind, TOOL, plan.tool_rounds, plan).await?;
    println!("a turn of {} words, {} rounds", plan.long_words, plan.long_rounds);
    let long = rounds(field, streams, |_| Turn::Second, &long, plan.long_rounds, plan).await?;
    Ok(Turns { cold, warm, tool, long })
}

async fn rounds(
    field: &Field,
    takes_part: fn(Which) -> bool,
    kind: fn(Which) -> Turn,
    prompt: &str,
    rounds: usize,
    plan: &Plan,
) -> anyhow::Result<Rounds> {
    let mut measured = Rounds::default();
    let mut out = Vec::new();
    let mut live = BTreeMap::new();
    let mut dice = fastrand::Rng::with_seed(1);
    // One more, which only warms up.
    for round in 0..=rounds {
        // In another order each time, so that nobody always comes after the same one.
        let mut order: Vec<_> = field.systems.iter().collect();
        dice.shuffle(&mut order);
        for (which, system) in order {
            if !takes_part(*which) || out.contains(which) {
                continue;
            }
            // Systems go on working when their turn has ended, and that is nobody else's cost.
            tokio::time::sleep(plan.pause).await;
            let turned = match kind(*which) {
                Turn::Cold => cold(&**system, prompt).await,
                Turn::Warm => warm(&**system, live.entry(*which).or_default(), prompt).await,
                Turn::Second => second(&**system, prompt).await,
            };
            match turned {
                Ok(seen) if round > 0 => measured.push(*which, seen),
                Ok(_) => {}
                Err(error) => {
                    anyhow::ensure!(!ours(*which), "{}: {error:#}", which.name());
                    eprintln!("OUT: {}: {prompt:?}: {error:#}", which.name());
                    out.push(*which);
                    measured.0.remove(which);
                }
            }
        }
    }
    for conversation in live.into_values().flatten() {
        close(conversation).await;
    }
    for (which, seen) in &measured.0 {
        let last: Figures = seen.iter().map(|seen| millis(seen.last)).collect();
        println!("  {:<34} {:>9.2} ms", which.name(), last.median());
    }
    Ok(measured)
}

/// What must not fail.
pub(crate) fn ours(which: Which) -> bool {
    matches!(which, Which::Gateway | Which::Floor | Which::Bare)
}

async fn cold(system: &dyn System, prompt: &str) -> anyhow::Result<Seen> {
    let (seen, conversation) = first_turn(system, prompt).await?;
    close(conversation).await;
    Ok(seen)
}

async fn warm(
    system: &dyn System,
    live: &mut Option<Box<dyn Conversation>>,
    prompt: &str,
) -> anyhow::Result<Seen> {
    let conversation = match live {
        Some(conversation) => conversation,
        None => live.insert(first_turn(system, SHORT).await?.1),
    };
    turn(&mut **conversation, prompt, Instant::now()).await
}

async fn second(system: &dyn System, prompt: &str) -> anyhow::Result<Seen> {
    let (_, mut conversation) = first_turn(system, SHORT).await?;
    let seen = turn(&mut *conversation, prompt, Instant::now()).await?;
    close(conversation).await;
    Ok(seen)
}
