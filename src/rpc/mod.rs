//! JSON-RPC 2.0 over `POST /jsonrpc` and `GET /ws`: single calls, batches, notifications.
//!
//! A method decodes its params, calls [`crate::ops`] and encodes the result.
//!
//! - [`http`], [`ws`] with [`session`]: the two transports; [`dispatch`] runs the calls of either;
//! - [`message`]: the messages of the specification; [`schema`]: their schemas;
//! - [`reply`]: the result of a method;
//! - [`method`]: the table of methods; [`spec`]: a row of it; [`discover`]: its OpenRPC document;
//! - [`call_context`]: the caller and transport of a call; [`socket`]: the socket of a call;
//!   [`subscriber`]: the events of a conversation as notifications;
//! - a file per noun: the methods.

mod apply;
mod auth;
mod call_context;
mod conversation;
mod conversations;
mod discover;
mod dispatch;
mod exec;
pub(crate) mod http;
mod interactive;
mod mcp;
mod message;
mod method;
mod prompt;
mod proto;
mod proxy;
mod reply;
pub(crate) mod schema;
mod session;
mod socket;
mod spec;
mod subscriber;
mod subscription;
pub(crate) mod ws;

pub use self::method::Method;
pub use self::spec::Spec;
pub use self::spec::Transport;
