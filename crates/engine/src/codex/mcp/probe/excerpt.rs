//! Excerpts of what a server prints, for errors.

/// Length of a server's output in an error, in characters.
const EXCERPT_CHARS: usize = 300;

/// The first [`EXCERPT_CHARS`] characters of a text.
pub(super) fn excerpt(text: &str) -> String {
    let text = text.trim();
    let mut short: String = text.chars().take(EXCERPT_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
