//! Bursts of new conversations: throughput, the time of each, and the peak memory of the process
//! tree, which is sampled in a separate, untimed round.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::contender::Contender;
use crate::contender::Contenders;
use crate::memory::Peak;
use crate::plan::Plan;
use crate::plan::SHORT;
use crate::system::System;
use crate::system::close;
use crate::system::first_turn;
use crate::timing::Samples;
use crate::timing::millis;
use crate::turns::is_required;

/// The limit of a burst. Estimated from the previous size; longer bursts are skipped.
const MAX_SECONDS: f64 = 45.0;
/// The largest burst with a process per conversation: more do not fit into 16 GB.
const MAX_PROCESSES: usize = 64;

/// The bursts of one system at one size.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) contender: Contender,
    pub(crate) size: usize,
    /// Seconds from the first start to the last end, per round.
    pub(crate) wall: Samples,
    /// Milliseconds of each conversation, over all rounds.
    pub(crate) each: Samples,
    /// The peak in MB; `None` for the baseline in this process.
    pub(crate) memory: Option<f64>,
}

impl Burst {
    pub(crate) fn per_second(&self) -> f64 {
        self.size as f64 / self.wall.median()
    }
}

/// The measurements of one system at one size.
struct Participant<'a> {
    contender: Contender,
    system: &'a Arc<dyn System>,
    wall: Vec<f64>,
    each: Vec<f64>,
    failed: bool,
}

/// Runs all bursts.
///
/// # Errors
/// If the gateway or core fails.
pub(crate) async fn measure(contenders: &Contenders, plan: &Plan) -> anyhow::Result<Vec<Burst>> {
    let mut bursts: Vec<Burst> = Vec::new();
    for &size in &plan.bursts {
        println!("{size} new conversations at once");
        let mut participants = Vec::new();
        for (contender, system) in &contenders.systems {
            let contender = *contender;
            if contender != Contender::BareHyper && fits(contender, size, &bursts) {
                let (wall, each) = (Vec::new(), Vec::new());
                participants.push(Participant { contender, system, wall, each, failed: false });
            }
        }
        for _ in 0..plan.burst_rounds {
            for participant in &mut participants {
                participant.round(size, plan).await?;
            }
        }
        for participant in participants {
            bursts.extend(participant.finish(size, plan).await);
        }
    }
    Ok(bursts)
}

impl Participant<'_> {
    async fn round(&mut self, size: usize, plan: &Plan) -> anyhow::Result<()> {
        // One round suffices for a slow system.
        if self.failed || self.wall.first().is_some_and(|seconds| *seconds > 5.0) {
            return Ok(());
        }
        // Closing conversations and background work must not slow the next system.
        tokio::time::sleep(plan.pause * 2).await;
        match at_once(self.contender, self.system, size).await {
            Ok((seconds, each)) => {
                self.wall.push(seconds);
                self.each.extend(each);
            }
            Err(error) => {
                let name = self.contender.name();
                anyhow::ensure!(!is_required(self.contender), "{name}: {error:#}");
                eprintln!("FAILED: {name}: {size} at once: {error:#}");
                self.failed = true;
            }
        }
        Ok(())
    }

    /// Samples the memory in one more round; `None` if no round succeeded.
    async fn finish(self, size: usize, plan: &Plan) -> Option<Burst> {
        let Self { contender, system, wall, each, .. } = self;
        if wall.is_empty() {
            return None;
        }
        let mut memory = None;
        if contender != Contender::DirectCore {
            tokio::time::sleep(plan.pause * 2).await;
            let peak = Peak::watch(Arc::clone(system));
            drop(at_once(contender, system, size).await);
            memory = Some(peak.end().await);
        }
        let (wall, each) = (wall.into_iter().collect(), each.into_iter().collect());
        let burst = Burst { contender, size, wall, each, memory };
        println!(
            "  {:<34} {:>9.1} per second   {:>8.1} MB",
            contender.name(),
            burst.per_second(),
            memory.unwrap_or(f64::NAN)
        );
        Some(burst)
    }
}

/// Whether a burst of this size stays within the limits, judged by the smaller ones.
fn fits(contender: Contender, size: usize, before: &[Burst]) -> bool {
    let smaller = before.iter().rfind(|burst| burst.contender == contender);
    let seconds =
        smaller.map_or(0.0, |burst| burst.wall.median() * size as f64 / burst.size as f64);
    (contender.keeps() || size <= MAX_PROCESSES)
        && (before.is_empty() || smaller.is_some())
        && seconds <= MAX_SECONDS
}

/// Measures the seconds from the first start to the last end, and the milliseconds of each.
///
/// A process per request is closed with its request; kept systems are closed afterwards.
async fn at_once(
    contender: Contender,
    system: &Arc<dyn System>,
    size: usize,
) -> anyhow::Result<(f64, Vec<f64>)> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..size {
        let system = Arc::clone(system);
        tasks.spawn(async move {
            let (timing, conversation) = first_turn(&*system, SHORT).await?;
            let took = begun.elapsed();
            anyhow::Ok((timing, took, conversation))
        });
    }
    let (mut each, mut kept, mut closing) = (Vec::new(), Vec::new(), JoinSet::new());
    let mut wall = 0.0_f64;
    while let Some(done) = tasks.join_next().await {
        let (timing, took, conversation) = done??;
        each.push(millis(timing.completed));
        wall = wall.max(took.as_secs_f64());
        if contender.keeps() {
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
