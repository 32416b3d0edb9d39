//! A request's body that nobody wants any more is read on for a while, and thrown away.
//!
//! Who is refused in the middle of an upload is still writing. Were the connection closed on what it has
//! written, its system would be told so, and would often throw the refusal away unread: the client then sees
//! a broken pipe, and not what is wrong. So the answer goes out at once, and the rest of the body is read
//! meanwhile, within bounds.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// What a client may have under way before it reads our answer: the buffers of two systems, and then some.
const BYTES: u64 = 16 * 1024 * 1024;
/// Longer than an answer takes to any place on earth, and than a client takes to look at it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request's body. Dropped before its end, the rest is read and thrown away.
pub(crate) struct Lingering {
    body: Option<Body>,
    /// Whether the client sends without being asked to.
    sending: bool,
}

impl Lingering {
    /// `waits` is for a client that sends its body only once it is told to go on (RFC 9110, 10.1.1): as long
    /// as nobody has read any of it, there is nothing under way.
    pub(crate) fn new(body: Body, waits: bool) -> Self {
        Self { body: Some(body), sending: !waits }
    }
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.sending = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| self.sending && !body.is_end_stream());
        // Without a runtime the process is ending, and the connection with it.
        if let (Some(rest), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(PATIENCE, drain(rest)));
        }
    }
}

async fn drain(mut body: Body) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > BYTES {
            return;
        }
    }
}
