//! Outbound HTTP for clients: reverse calls (`bff.proxy`) to upstreams that the operator
//! configured, and the egress proxy for tool servers that sessions name.
//!
//! - `call`: [`Proxies`], the reverse calls; [`upstream`]: a configured upstream;
//! - `location`: parses URLs and compares them part by part; `headers`: which headers pass;
//! - `connect`: resolves, checks and connects; `address`: which addresses are allowed;
//! - [`mcp_egress`]: connects tool servers under the same checks.

mod address;
mod bounded_body;
mod call;
mod connect;
mod headers;
mod location;
pub mod mcp_egress;
pub mod upstream;

pub use self::call::Proxies;
pub(crate) use self::call::ProxyRequest;
