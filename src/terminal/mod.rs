//! Terminals: shells in the sandbox that clients type into (`interactive.*`).
//!
//! - [`registry`]: the terminals of the process, their owners and their number;
//! - [`live`]: one terminal, from start to exit; [`ring`]: its newest output;
//! - [`limits`]: the limits of both.
//!
//! Output goes into a ring that overwrites: no reader, slow or gone, ever blocks the programs of a
//! terminal, and a late reader learns how many bytes it missed.

mod limits;
mod live;
mod registry;
mod ring;

pub use self::limits::TerminalLimits;
pub(crate) use self::live::ExitReason;
pub(crate) use self::live::Output;
pub(crate) use self::live::Terminal;
pub(crate) use self::registry::TerminalOptions;
pub use self::registry::Terminals;
