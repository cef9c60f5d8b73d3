//! Model providers: configuration, fallbacks, and each wire of the bridge.

mod litellm;
mod providers;
mod wires;
