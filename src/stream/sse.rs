//! Server-sent events (WHATWG HTML, section 9.2): `id:` the seq, `event:` the type, `data:` the
//! line.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use super::reader::Item;
use crate::conversation::id::Seq;

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

/// Appends one event. `data` is one line; JSON has no bare line feeds.
pub fn write(out: &mut BytesMut, seq: Option<Seq>, event: &str, data: &[u8]) {
    use std::fmt::Write;

    if let Some(seq) = seq {
        // Writing to a buffer cannot fail.
        let _ = writeln!(out, "id: {seq}");
    }
    out.put_slice(b"event: ");
    out.put_slice(event.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(data.strip_suffix(b"\n").unwrap_or(data));
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_has_number_type_and_line() {
        let mut out = BytesMut::new();
        write(&mut out, Some(7), "agent_message", b"{\"seq\":7}\n");
        assert_eq!(out, "id: 7\nevent: agent_message\ndata: {\"seq\":7}\n\n");
    }
}
