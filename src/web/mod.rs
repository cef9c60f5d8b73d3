//! HTTP: response bodies, replies, the JSON reader, and the head of a request.

mod body;
mod context;
pub mod json;
mod limits;
pub mod reply;

pub use self::body::Body;
pub use self::context::RequestContext;
pub use self::limits::Limits;
