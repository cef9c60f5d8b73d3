//! Sequential turns, alternating between the systems: a first turn, a warm turn, a turn with a tool
//! call, a long turn.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::contender::Contender;
use crate::contender::Contenders;
use crate::plan::Plan;
use crate::plan::SHORT;
use crate::plan::TOOL;
use crate::system::Conversation;
use crate::system::System;
use crate::system::close;
use crate::system::first_turn;
use crate::system::turn;
use crate::timing::Samples;
use crate::timing::TurnTiming;
use crate::timing::millis;

/// The timing of each system's turns, by round.
#[derive(Debug, Default)]
pub(crate) struct Rounds(pub(crate) BTreeMap<Contender, Vec<TurnTiming>>);

impl Rounds {
    pub(crate) fn samples(
        &self,
        contender: Contender,
        pick: fn(&TurnTiming) -> Duration,
    ) -> Option<Samples> {
        let timing = self.0.get(&contender).filter(|timing| !timing.is_empty())?;
        Some(timing.iter().map(|timing| millis(pick(timing))).collect())
    }

    pub(crate) fn median(
        &self,
        contender: Contender,
        pick: fn(&TurnTiming) -> Duration,
    ) -> Option<f64> {
        Some(self.samples(contender, pick)?.median())
    }

    /// Returns the median of how much longer the first takes than the second, per round. The
    /// difference is robust against a machine that slows down during the run.
    pub(crate) fn overhead(&self, contender: Contender, baseline: Contender) -> Option<f64> {
        let (above, below) = (self.0.get(&contender)?, self.0.get(&baseline)?);
        let pairs = above.iter().zip(below);
        let overheads: Samples =
            pairs.map(|(above, below)| millis(above.completed) - millis(below.completed)).collect();
        (overheads.len() > 0).then(|| overheads.median())
    }

    fn push(&mut self, contender: Contender, timing: TurnTiming) {
        self.0.entry(contender).or_default().push(timing);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The first turn of a new conversation, timed with its start.
    Cold,
    /// A turn of one conversation that lives through all rounds.
    Warm,
    /// The second turn of a new conversation, so that the history stays equally short.
    Second,
}

/// The four kinds of turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) cold: Rounds,
    pub(crate) warm: Rounds,
    pub(crate) tool: Rounds,
    pub(crate) long: Rounds,
}

/// Runs all turns. A peer that fails is excluded from the remaining rounds.
///
/// # Errors
/// If the gateway or a baseline fails.
pub(crate) async fn measure(contenders: &Contenders, plan: &Plan) -> anyhow::Result<Turns> {
    let all = |_: Contender| true;
    let kept = |contender: Contender| contender.keeps();
    let long = plan.long_prompt();
    println!("a first turn, {} rounds", plan.rounds);
    let cold = rounds(contenders, all, |_| Turn::Cold, SHORT, plan.rounds, plan).await?;
    println!("a warm turn, {} rounds", plan.rounds);
    let warm = rounds(contenders, kept, |_| Turn::Warm, SHORT, plan.rounds, plan).await?;
    println!("a turn with a tool call, {} rounds", plan.tool_rounds);
    let kind = |contender: Contender| if contender.keeps() { Turn::Warm } else { Turn::Cold };
    let tool = rounds(contenders, all, kind, TOOL, plan.tool_rounds, plan).await?;
    println!("a turn of {} deltas, {} rounds", plan.long_deltas, plan.long_rounds);
    let long = rounds(contenders, kept, |_| Turn::Second, &long, plan.long_rounds, plan).await?;
    Ok(Turns { cold, warm, tool, long })
}

async fn rounds(
    contenders: &Contenders,
    takes_part: fn(Contender) -> bool,
    kind: fn(Contender) -> Turn,
    prompt: &str,
    rounds: usize,
    plan: &Plan,
) -> anyhow::Result<Rounds> {
    let mut measured = Rounds::default();
    let mut failed = Vec::new();
    let mut live = BTreeMap::new();
    let mut rng = fastrand::Rng::with_seed(1);
    // Round 0 warms up.
    for round in 0..=rounds {
        // A new order per round, so that no system always follows the same one.
        let mut order: Vec<_> = contenders.systems.iter().collect();
        rng.shuffle(&mut order);
        for (contender, system) in order {
            if !takes_part(*contender) || failed.contains(contender) {
                continue;
            }
            // Background work after a turn must not slow the next system.
            tokio::time::sleep(plan.pause).await;
            let turned = match kind(*contender) {
                Turn::Cold => cold(&**system, prompt).await,
                Turn::Warm => warm(&**system, live.entry(*contender).or_default(), prompt).await,
                Turn::Second => second(&**system, prompt).await,
            };
            match turned {
                Ok(timing) if round > 0 => measured.push(*contender, timing),
                Ok(_) => {}
                Err(error) => {
                    anyhow::ensure!(!is_required(*contender), "{}: {error:#}", contender.name());
                    eprintln!("FAILED: {}: {prompt:?}: {error:#}", contender.name());
                    failed.push(*contender);
                    measured.0.remove(contender);
                }
            }
        }
    }
    for conversation in live.into_values().flatten() {
        close(conversation).await;
    }
    for (contender, timing) in &measured.0 {
        let last: Samples = timing.iter().map(|timing| millis(timing.completed)).collect();
        println!("  {:<34} {:>9.2} ms", contender.name(), last.median());
    }
    Ok(measured)
}

/// Whether a failure of the system ends the run.
pub(crate) fn is_required(contender: Contender) -> bool {
    matches!(contender, Contender::Gateway | Contender::DirectCore | Contender::BareHyper)
}

async fn cold(system: &dyn System, prompt: &str) -> anyhow::Result<TurnTiming> {
    let (timing, conversation) = first_turn(system, prompt).await?;
    close(conversation).await;
    Ok(timing)
}

async fn warm(
    system: &dyn System,
    live: &mut Option<Box<dyn Conversation>>,
    prompt: &str,
) -> anyhow::Result<TurnTiming> {
    let conversation = match live {
        Some(conversation) => conversation,
        None => live.insert(first_turn(system, SHORT).await?.1),
    };
    turn(&mut **conversation, prompt, Instant::now()).await
}

async fn second(system: &dyn System, prompt: &str) -> anyhow::Result<TurnTiming> {
    let (_, mut conversation) = first_turn(system, SHORT).await?;
    let timing = turn(&mut *conversation, prompt, Instant::now()).await?;
    close(conversation).await;
    Ok(timing)
}
