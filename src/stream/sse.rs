//! Events as server-sent events: `id:` the seq, `event:` the type, `data:` the line.

use bytes::Bytes;
use bytes::BytesMut;

use super::reader::Item;
use crate::web::sse::write;

/// A comment. Clients skip it, and it keeps proxies from closing the connection.
pub const HEARTBEAT: &[u8] = b": keep-alive\n\n";

/// Frames an item.
pub fn frame(item: Item) -> Bytes {
    match item {
        Item::Events(entries) => {
            let lines: usize = entries.iter().map(|entry| entry.line.len() + 64).sum();
            let mut out = BytesMut::with_capacity(lines);
            for entry in &entries {
                write(&mut out, Some(entry.seq), entry.kind(), &entry.line);
            }
            out.freeze()
        }
        Item::Notice(notice) => {
            let mut out = BytesMut::new();
            write(&mut out, Some(notice.seq), notice.event_type(), notice.line().as_bytes());
            out.freeze()
        }
        Item::Heartbeat => Bytes::from_static(HEARTBEAT),
    }
}
