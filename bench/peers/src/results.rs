//! The measurements of a run.

use std::time::Duration;

use crate::burst::Burst;
use crate::fanout::Fanout;
use crate::idle::Idle;
use crate::turns::Turns;

/// All measurements of a run.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) turns: Turns,
    pub(crate) bursts: Vec<Burst>,
    pub(crate) idle: Vec<Idle>,
    pub(crate) fanout: Fanout,
    pub(crate) took: Duration,
}
