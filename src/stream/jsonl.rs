//! JSON lines: `application/x-ndjson`, or `application/jsonl`. One event a line, as in the log.
//! Events that are ready together go out in one write.

use bytes::Bytes;
use bytes::BytesMut;

use super::reader::Item;

/// Frames an item. A heartbeat is an empty line, which readers of JSON lines skip.
pub fn frame(item: Item) -> Bytes {
    match item {
        Item::Events(entries) => match entries.as_slice() {
            [only] => only.line.clone(),
            entries => {
                let mut bytes =
                    BytesMut::with_capacity(entries.iter().map(|entry| entry.line.len()).sum());
                for entry in entries {
                    bytes.extend_from_slice(&entry.line);
                }
                bytes.freeze()
            }
        },
        Item::Notice(notice) => notice.line().into(),
        Item::Heartbeat => Bytes::from_static(b"\n"),
    }
}
