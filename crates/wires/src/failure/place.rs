//! [`Place`]: where an error was found.

/// The place of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The body of an answer with this error status.
    Status(u16),
    /// The whole answer, with a status of success.
    Document,
    /// Amid a stream.
    Stream,
}
