//! [`BoundedBody`]: the body of a tool server's response, which must not fill memory.
//!
//! Core holds a document, or an event of a stream, as a whole before it decodes it. A stream of
//! events may have any length, so the bound is on each event.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use http::HeaderMap;
use http::header;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;

/// The size of a document or an event.
const LIMIT: usize = 16 << 20;

/// A body that fails when a document or an event is too large.
#[derive(Debug)]
pub(super) struct BoundedBody<B = Incoming> {
    inner: B,
    limit: usize,
    /// Counts an event rather than the whole body.
    is_stream: bool,
    /// The size of the document or event so far.
    size: usize,
    /// Whether the last line is empty so far: the next line end ends the event.
    at_line_start: bool,
}

impl<B> BoundedBody<B> {
    /// Bounds the body of a response with these headers.
    pub(super) fn new(inner: B, headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        let is_stream = essence.trim().eq_ignore_ascii_case("text/event-stream");
        Self { inner, limit: LIMIT, is_stream, size: 0, at_line_start: false }
    }

    /// Counts bytes. Returns whether the document or event is still within the limit.
    fn count(&mut self, data: &[u8]) -> bool {
        if !self.is_stream {
            self.size = self.size.saturating_add(data.len());
            return self.size <= self.limit;
        }
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            self.size = self.size.saturating_add(line.len());
            if self.size > self.limit {
                return false;
            }
            // An empty line ends an event; a carriage return may stand before the line feed.
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let is_empty = text.iter().all(|byte| *byte == b'\r');
            if line.len() == text.len() {
                self.at_line_start &= is_empty;
            } else {
                if self.at_line_start && is_empty {
                    self.size = 0;
                }
                self.at_line_start = true;
            }
        }
        true
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for BoundedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref()
            && !self.count(data)
        {
            let limit = self.limit;
            tracing::warn!(limit, "a tool server sent a document or an event above the limit");
            let expected = format!("expected a document or event of at most {limit} bytes");
            return Poll::Ready(Some(Err(expected.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fits(content_type: &'static str, chunks: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut body = BoundedBody { limit: 10, ..BoundedBody::new((), &headers) };
        chunks.iter().all(|chunk| body.count(chunk.as_bytes()))
    }

    #[test]
    fn documents_and_single_events_are_bounded() {
        const SSE: &str = "Text/Event-Stream; charset=utf-8";
        for (content_type, chunks, expected) in [
            ("application/json", &["12345", "67890"][..], true),
            ("application/json", &["12345", "678901"], false),
            ("application/json", &["1\n\n", "2\n\n", "3\n\n", "4\n\n"], false),
            (SSE, &["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"], true),
            (SSE, &["data: 1\n", "\ndata: 2\n\ndata: 3\n", "\n"], true),
            (SSE, &["data: 1\r\n", "\r", "\ndata: 2\r\n\r\n"], false),
            (SSE, &["data: \r\n", "\r", "\ndata: \r\n\r\n"], true),
            (SSE, &["data: 1\n", "data: 2\n"], false),
            (SSE, &["data: 12345"], false),
            (SSE, &["a\n", "b", "\n", "c\n", "d\n", "e\n", "f\n"], false),
            (SSE, &["a", "\n\n", "\n\n\n\n\n\n\n\n\n\n\n\n"], true),
        ] {
            assert_eq!(fits(content_type, chunks), expected, "{content_type} {chunks:?}");
        }
    }
}
