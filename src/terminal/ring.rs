//! The newest output of a terminal. Every byte has a number, so a late reader learns how much it
//! missed.

use std::collections::VecDeque;

/// The newest output of a terminal.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    /// The number of bytes printed so far.
    end: u64,
    limit: usize,
}

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The number of bytes printed before the piece.
    pub(crate) offset: u64,
    /// The number of requested bytes that are no longer kept.
    pub(crate) lost: u64,
    pub(crate) data: Vec<u8>,
}

impl Piece {
    /// The offset of the next piece.
    pub(crate) fn next(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

impl Ring {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), end: 0, limit }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.end += data.len() as u64;
        let kept = data.get(data.len().saturating_sub(self.limit)..).unwrap_or_default();
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(self.limit);
        self.bytes.drain(..surplus);
        self.bytes.extend(kept);
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Reads at most `limit` bytes after the first `after` bytes.
    pub(super) fn read(&self, after: u64, limit: usize) -> Piece {
        let start = self.end - self.bytes.len() as u64;
        let offset = after.clamp(start, self.end);
        let skip = usize::try_from(offset - start).unwrap_or(usize::MAX);
        let data = self.bytes.iter().skip(skip).take(limit).copied().collect();
        Piece { offset, lost: offset.saturating_sub(after), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_reader_learns_how_much_it_missed() {
        let mut ring = Ring::new(4);
        ring.push(b"abc");
        ring.push(b"def");
        for (after, limit, offset, lost, data) in [
            (0, 9, 2, 2, &b"cdef"[..]),
            (2, 9, 2, 0, b"cdef"),
            (3, 2, 3, 0, b"de"),
            (6, 9, 6, 0, b""),
            (7, 9, 6, 0, b""),
        ] {
            let piece = ring.read(after, limit);
            assert_eq!(piece, Piece { offset, lost, data: data.to_vec() }, "after {after}");
        }
        ring.push(b"0123456789");
        assert_eq!(ring.read(6, 9), Piece { offset: 12, lost: 6, data: b"6789".to_vec() });
        assert_eq!(ring.end(), 16);
    }
}
