//! Server-sent events (WHATWG HTML, section 9.2), as text.

use bytes::BufMut;
use bytes::BytesMut;

/// Appends one event. `data` is one line; JSON has no bare line feeds.
pub fn write(out: &mut BytesMut, id: Option<u64>, event: &str, data: &[u8]) {
    use std::fmt::Write;

    if let Some(id) = id {
        // Writing to a buffer cannot fail.
        let _ = writeln!(out, "id: {id}");
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
        write(&mut out, None, "done", b"{}");
        assert_eq!(
            out,
            "id: 7\nevent: agent_message\ndata: {\"seq\":7}\n\nevent: done\ndata: {}\n\n"
        );
    }
}
