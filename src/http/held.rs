//! A body that holds something until it is sent or given up.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// `body`, which holds `_place` for as long as there is more of it to send.
pub struct Held<P> {
    body: Body,
    _place: P,
}

impl<P: Unpin + Send + 'static> Held<P> {
    /// A body that holds `place`.
    pub fn body(body: Body, place: P) -> Body {
        Body::new(Self {
            body,
            _place: place,
        })
    }
}

impl<P: Unpin> hyper::body::Body for Held<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
