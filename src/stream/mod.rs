//! Events on their way to clients: [`EventReader`] reads a conversation's log, and the framings
//! frame its items.
//!
//! - `reader`: the items of a stream, its end and its notices
//! - [`jsonl`], [`sse`]: core's events as they are
//! - [`task_view`]: the task view of a turn
//! - `span`: the metrics of a stream

pub mod jsonl;
mod reader;
pub(crate) mod span;
pub mod sse;
pub mod task_view;

pub use self::reader::EventReader;
pub use self::reader::Item;
pub use self::reader::Notice;
pub use self::reader::NoticeKind;
pub use self::reader::ReadOptions;
pub use self::reader::StreamEnd;
