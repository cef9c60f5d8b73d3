//! The model bridge: what core's provider is.
//!
//! Today it is the demo model, on a private loopback socket behind a token that only core has.

pub mod demo;

/// Where core finds its model.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Core posts to `{base_url}/responses`.
    pub base_url: String,
    /// Made for this process; nothing else gets in.
    pub bearer_token: String,
}
