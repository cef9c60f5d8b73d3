//! What a client saw of a turn, and how a run of such figures is summed up.

use std::time::Duration;
use std::time::SystemTime;

use tokio::time::Instant;

/// The wall clock in nanoseconds: the same for every process of this machine.
pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A turn as its client saw it, from the request on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// To the first event of the turn: that it began.
    pub(crate) first: Duration,
    /// To the first word of the model.
    pub(crate) word: Duration,
    /// To the end of the turn.
    pub(crate) last: Duration,
    /// Events that arrived.
    pub(crate) events: usize,
    /// Bytes that arrived.
    pub(crate) bytes: usize,
}

/// What an event is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The turn began.
    First,
    /// The model said something.
    Word,
    /// The turn ended well.
    Last,
    /// It ended otherwise.
    Failed,
    Other,
}

/// Fills a [`Seen`] event by event.
#[derive(Debug)]
pub(crate) struct Watch {
    begun: Instant,
    pub(crate) seen: Seen,
}

impl Watch {
    pub(crate) fn since(begun: Instant) -> Self {
        Self { begun, seen: Seen::default() }
    }

    /// Counts an event. Says whether it was the turn's end.
    ///
    /// # Errors
    /// It says that the turn failed.
    pub(crate) fn event(&mut self, kind: Kind, bytes: usize, at: Instant) -> anyhow::Result<bool> {
        let seen = &mut self.seen;
        seen.events += 1;
        seen.bytes += bytes;
        let took = at.saturating_duration_since(self.begun);
        match kind {
            Kind::First => {
                if seen.first.is_zero() {
                    seen.first = took;
                }
            }
            Kind::Word => {
                if seen.word.is_zero() {
                    seen.word = took;
                }
            }
            Kind::Last => seen.last = took,
            Kind::Failed => anyhow::bail!("the turn failed"),
            Kind::Other => {}
        }
        Ok(kind == Kind::Last)
    }
}

/// A run of figures, sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Vec<f64>);

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

impl Figures {
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
