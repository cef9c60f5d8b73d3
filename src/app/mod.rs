//! The application: [`App`] is the state that requests share, [`Assembly`] builds it at start-up.
//!
//! - `state`: [`App`]; `assembly`: [`Assembly`]; `home_lock`: one gateway per home; `gauges`: the
//!   metrics that observe the state;
//! - [`providers`]: the configuration of models, as core and the bridge need it.

mod assembly;
mod gauges;
mod home_lock;
pub mod providers;
mod state;

pub use self::assembly::Assembly;
pub use self::state::App;
pub use self::state::Components;
