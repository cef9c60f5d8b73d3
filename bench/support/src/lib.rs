//! Shared by the benches that run whole turns.
//!
//! - [`run`] and [`Mode`]: a measuring process with a codex home of its own, full or quick;
//! - [`start`] and [`turn`]: conversations and turns on core, without HTTP;
//! - [`Client`] and [`TurnTiming`]: turns through `/exec`, timed;
//! - [`median`].

mod client;
mod median;
mod mode;
mod process;
mod turn;

pub use self::client::Client;
pub use self::client::TurnTiming;
pub use self::median::median;
pub use self::mode::Mode;
pub use self::process::Prepare;
pub use self::process::run;
pub use self::turn::start;
pub use self::turn::turn;
