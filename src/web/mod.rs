//! HTTP: connections, bodies, arguments and results of handlers, the JSON reader, replies, and the
//! head of a request.

pub(crate) mod accept;
mod body;
pub mod connections;
mod context;
pub(crate) mod describe;
pub(crate) mod extract;
pub mod json;
mod limits;
pub mod reply;
pub(crate) mod respond;
pub mod sse;

pub use self::body::Body;
pub use self::context::RequestContext;
pub use self::limits::Limits;
pub(crate) use self::respond::Json;
