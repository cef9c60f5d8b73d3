//! Model providers: configuration, fallbacks, and each wire of the bridge.

mod providers;
mod wires;
