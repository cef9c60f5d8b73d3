//! Tool servers on core.
//!
//! - `config`: their entries in core's configuration;
//! - `servers`: the tool servers of one live conversation;
//! - `probe`: the test start that `mcp.connect` waits for.

pub(super) mod config;
pub(super) mod probe;
pub(super) mod servers;
