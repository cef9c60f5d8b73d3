//! The timing of a turn as its client sees it, and samples of such figures.

use std::time::Duration;
use std::time::SystemTime;

use tokio::time::Instant;

/// Returns the wall clock in nanoseconds, which all processes of the machine share.
pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The timing of a turn as its client sees it, from the request on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TurnTiming {
    /// Until the first event of the turn.
    pub(crate) started: Duration,
    /// Until the first text delta of the model.
    pub(crate) first_delta: Duration,
    /// Until the end of the turn.
    pub(crate) completed: Duration,
    /// Events received.
    pub(crate) events: usize,
    /// Bytes received.
    pub(crate) bytes: usize,
}

/// The role of an event in the timing of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The turn has started.
    Started,
    /// A text delta of the model.
    Delta,
    /// The turn has completed.
    Completed,
    /// The turn has failed or was interrupted.
    Failed,
    Other,
}

/// Fills a [`TurnTiming`] event by event.
#[derive(Debug)]
pub(crate) struct TurnRecorder {
    begun: Instant,
    pub(crate) timing: TurnTiming,
}

impl TurnRecorder {
    pub(crate) fn since(begun: Instant) -> Self {
        Self { begun, timing: TurnTiming::default() }
    }

    /// Records an event. Returns whether it is the end of the turn.
    ///
    /// # Errors
    /// If the event reports a failure.
    pub(crate) fn record(
        &mut self,
        kind: EventKind,
        bytes: usize,
        at: Instant,
    ) -> anyhow::Result<bool> {
        let timing = &mut self.timing;
        timing.events += 1;
        timing.bytes += bytes;
        let elapsed = at.saturating_duration_since(self.begun);
        match kind {
            EventKind::Started => {
                if timing.started.is_zero() {
                    timing.started = elapsed;
                }
            }
            EventKind::Delta => {
                if timing.first_delta.is_zero() {
                    timing.first_delta = elapsed;
                }
            }
            EventKind::Completed => timing.completed = elapsed,
            EventKind::Failed => anyhow::bail!("the turn failed"),
            EventKind::Other => {}
        }
        Ok(kind == EventKind::Completed)
    }
}

/// Sorted samples.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

impl Samples {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(50)
    }

    pub(crate) fn p90(&self) -> f64 {
        self.at(90)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(99)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    fn at(&self, percent: usize) -> f64 {
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
