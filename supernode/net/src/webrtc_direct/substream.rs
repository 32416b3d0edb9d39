//! A stream of a connection, as libp2p wants it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};

use super::session::Session;
use super::state::ChannelKey;

/// A stream. Reading takes bytes out of SCTP, writing puts them in; there is nothing between.
pub struct Substream {
    session: Arc<Session>,
    key: ChannelKey,
}

impl Substream {
    pub(super) fn new(session: Arc<Session>, key: ChannelKey) -> Self {
        Self { session, key }
    }
}

impl std::fmt::Debug for Substream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Substream").field("session", &self.session.id).field("key", &self.key).finish()
    }
}

impl AsyncRead for Substream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.session.poll_read(self.key, context, buffer)
    }
}

impl AsyncWrite for Substream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.session.poll_write(self.key, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.session.end_writing(self.key))
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        self.session.abandon(self.key);
    }
}
