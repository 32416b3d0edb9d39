//! A session as a libp2p connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p_core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::time::Sleep;

use super::session::{CloseReason, Session};
use super::substream::Substream;
use super::transport::multiaddr;

/// How long closing waits for the remote to acknowledge what was written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to a peer; dropping it closes it.
pub struct Connection {
    session: Arc<Session>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session, closing: None }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("session", &self.session.id).finish()
    }
}

impl StreamMuxer for Connection {
    type Substream = Substream;
    type Error = CloseReason;

    fn poll_inbound(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        self.session.poll_inbound(context).map_ok(|key| Substream::new(self.session.clone(), key))
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        self.session.poll_outbound(context).map_ok(|key| Substream::new(self.session.clone(), key))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.session.poll_close_gracefully(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let timeout = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
        timeout.as_mut().poll(context).map(|()| {
            self.session.close(CloseReason::Local);
            Ok(())
        })
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let moved = self.session.poll_moved(context);
        moved.map_ok(|address| StreamMuxerEvent::AddressChange(multiaddr(address)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.session.close(CloseReason::Local);
    }
}
