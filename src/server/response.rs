//! [`ResponseBody`]: hands a response to hyper in small chunks, and counts the bytes that the
//! client has not read.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use http_body::Body as _;
use http_body::Frame;
use http_body::SizeHint;

use crate::web::Body;
use crate::web::connections::InProgress;
use crate::web::connections::Unread;

/// The size of a chunk: the largest frame of HTTP/2 by default (RFC 9113, section 6.5.2). hyper
/// holds one per stream beyond its send buffer, and takes the next when the client reads.
const CHUNK: usize = 16 * 1024;

/// A response body. The request is in progress, and its bytes are unread, until it is dropped or
/// the socket has taken them.
pub(super) struct ResponseBody {
    body: Body,
    /// Data of the body that hyper has not taken.
    pending: Bytes,
    /// Whether `unread` counts the whole body from the start.
    counted: bool,
    unread: Unread,
}

impl ResponseBody {
    pub(super) fn new(body: Body, request: Arc<InProgress>) -> Self {
        let mut unread = Unread::of(request);
        let size = body.size_hint().exact();
        unread.add(size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0));
        Self { body, pending: Bytes::new(), counted: size.is_some(), unread }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.pending.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            let Ok(frame) = frame;
            match frame.into_data() {
                Ok(data) if !this.counted => {
                    this.unread.add(data.len());
                    this.pending = data;
                }
                Ok(data) => this.pending = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let chunk = this.pending.split_to(this.pending.len().min(CHUNK));
        Poll::Ready(Some(Ok(Frame::data(this.unread.attach(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.pending.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let pending = self.pending.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + pending);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + pending);
        }
        hint
    }
}
