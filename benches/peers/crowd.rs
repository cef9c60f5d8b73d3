//! Many new conversations at once: throughput, how long each takes, and the memory of the whole process
//! tree, which is looked at in a round of its own that is not timed.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::memory::Peak;
use crate::plan::Plan;
use crate::plan::SHORT;
use crate::seen::Figures;
use crate::seen::millis;
use crate::system::System;
use crate::system::close;
use crate::system::first_turn;
use crate::turns::ours;
use crate::which::Field;
use crate::which::Which;

/// A crowd that would take longer, by what the one before took, is left out.
const PATIENCE_SECONDS: f64 = 45.0;
/// More processes than this at a time would not fit into a machine of 16 GB.
const MOST_PROCESSES: usize = 64;

/// One system, one size.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) which: Which,
    pub(crate) size: usize,
    /// From the first start to the last end, in seconds; a figure a round.
    pub(crate) wall: Figures,
    /// Of each conversation, in milliseconds, all rounds together.
    pub(crate) each: Figures,
    /// The peak, in MB; none of the floors.
    pub(crate) memory: Option<f64>,
}

impl Crowd {
    pub(crate) fn a_second(&self) -> f64 {
        self.size as f64 / self.wall.median()
    }
}

/// Runs them.
///
/// # Errors
/// The gateway or core fails.
pub(crate) async fn measure(field: &Field, plan: &Plan) -> anyhow::Result<Vec<Crowd>> {
    let mut crowds: Vec<Crowd> = Vec::new();
    for &size in &plan.crowds {
        println!("{size} new conversations at once");
        let mut taking_part: Vec<_> = field.systems.iter().collect();
        taking_part.retain(|(which, _)| *which != Which::Bare && fits(*which, size, &crowds));
        let (mut walls, mut each) = (vec![Vec::new(); taking_part.len()], Vec::new());
        each.resize(taking_part.len(), Vec::new());
        let mut out = vec![false; taking_part.len()];
        for _ in 0..plan.crowd_rounds {
            for (index, (which, system)) in taking_part.iter().enumerate() {
                let (Some(wall), Some(each), Some(out)) =
                    (walls.get_mut(index), each.get_mut(index), out.get_mut(index))
                else {
                    continue;
                };
                // One round is enough of what takes long.
                if *out || wall.first().is_some_and(|seconds: &f64| *seconds > 5.0) {
                    continue;
                }
                // What closes conversations, and what a turn leaves to do, is nobody else's cost.
                tokio::time::sleep(plan.pause * 2).await;
                match at_once(*which, system, size).await {
                    Ok((seconds, took)) => {
                        wall.push(seconds);
                        each.extend(took);
                    }
                    Err(error) => {
                        anyhow::ensure!(!ours(*which), "{}: {error:#}", which.name());
                        eprintln!("OUT: {}: {size} at once: {error:#}", which.name());
                        *out = true;
                    }
                }
            }
        }
        for ((which, system), (wall, each)) in taking_part.iter().zip(walls.into_iter().zip(each)) {
            let wall: Figures = wall.into_iter().collect();
            if wall.len() == 0 {
                continue;
            }
            let mut memory = None;
            if *which != Which::Floor {
                tokio::time::sleep(plan.pause * 2).await;
                let peak = Peak::watch(Arc::clone(system));
                drop(at_once(*which, system, size).await);
                memory = Some(peak.end().await);
            }
            let crowd =
                Crowd { which: *which, size, wall, each: each.into_iter().collect(), memory };
            println!(
                "  {:<34} {:>9.1} a second   {:>8.1} MB",
                which.name(),
                crowd.a_second(),
                memory.unwrap_or(f64::NAN)
            );
            crowds.push(crowd);
        }
    }
    Ok(crowds)
}

fn fits(which: Which, size: usize, before: &[Crowd]) -> bool {
    let smaller = before.iter().rfind(|crowd| crowd.which == which);
    let seconds =
        smaller.map_or(0.0, |crowd| crowd.wall.median() * size as f64 / crowd.size as f64);
    (which.keeps() || size <= MOST_PROCESSES)
        && (before.is_empty() || smaller.is_some())
        && seconds <= PATIENCE_SECONDS
}

/// Seconds from the first start to the last end, and the milliseconds of each.
///
/// A process per request ends with its request; what is kept is let go of afterwards.
async fn at_once(
    which: Which,
    system: &Arc<dyn System>,
    size: usize,
) -> anyhow::Result<(f64, Vec<f64>)> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..size {
        let system = Arc::clone(system);
        tasks.spawn(async move {
            let (seen, conversation) = first_turn(&*system, SHORT).await?;
            let took = begun.elapsed();
            anyhow::Ok((seen, took, conversation))
        });
    }
    let (mut each, mut kept, mut closing) = (Vec::new(), Vec::new(), JoinSet::new());
    let mut wall = 0.0_f64;
    while let Some(done) = tasks.join_next().await {
        let (seen, took, conversation) = done??;
        each.push(millis(seen.last));
        wall = wall.max(took.as_secs_f64());
        if which.keeps() {
            kept.push(conversation);
        } else {
            closing.spawn(close(conversation));
        }
    }
    for conversation in kept {
        closing.spawn(close(conversation));
    }
    while let Some(closed) = closing.join_next().await {
        closed?;
    }
    Ok((wall, each))
}
