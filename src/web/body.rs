//! [`Body`]: the response body. It cannot fail, and it owns guards that must end with the response:
//! a disconnect, a drain and a normal end all drop the body.

use std::any::Any;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use futures::Stream;
use futures::StreamExt;
use http_body::Frame;
use http_body::SizeHint;

/// A response body.
pub struct Body {
    inner: Inner,
    /// Guards that are dropped with the body.
    _owned: Option<Box<dyn Any + Send>>,
}

enum Inner {
    Whole(Bytes),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.inner {
            Inner::Whole(bytes) => f.debug_tuple("Whole").field(&bytes.len()).finish(),
            Inner::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body {
    /// Creates a body of known content.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { inner: Inner::Whole(bytes.into()), _owned: None }
    }

    /// Creates a streaming body that owns `owned`. Empty frames are skipped.
    pub fn stream<S>(frames: S, owned: impl Any + Send) -> Self
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let frames = frames.filter(|frame| std::future::ready(!frame.is_empty()));
        Self { inner: Inner::Stream(Box::pin(frames)), _owned: Some(Box::new(owned)) }
    }

    /// Adds a guard that is dropped with the body.
    #[must_use]
    pub(crate) fn owning(self, owned: impl Any + Send) -> Self {
        let Self { inner, _owned: before } = self;
        let owned: Box<dyn Any + Send> = match before {
            Some(before) => Box::new((before, owned)),
            None => Box::new(owned),
        };
        Self { inner, _owned: Some(owned) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.inner {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Stream(frames) => {
                frames.as_mut().poll_next(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.inner, Inner::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}
