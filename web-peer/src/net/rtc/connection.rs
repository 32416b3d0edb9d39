//! A WebRTC connection as libp2p's stream muxer: a data channel a stream.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p_core::muxing::{StreamMuxer, StreamMuxerEvent};
use send_wrapper::SendWrapper;

use super::error::Error;
use super::page::PeerConnection;
use super::stream::Stream;

/// A connection that stands; dropping it closes it on the page.
pub struct Connection {
    peer: SendWrapper<Option<PeerConnection>>,
    /// A channel was asked of the page and has not come yet.
    opening: bool,
    /// The handshake's channel: it ends with the connection, not before.
    _handshake: Option<Box<dyn Any + Send>>,
}

impl Connection {
    pub(super) fn new(peer: PeerConnection) -> Self {
        Self { peer: SendWrapper::new(Some(peer)), opening: false, _handshake: None }
    }

    pub(super) fn keeping(mut self, handshake: impl Any + Send) -> Self {
        self._handshake = Some(Box::new(handshake));
        self
    }

    fn peer(&self) -> Result<&PeerConnection, Error> {
        self.peer.as_ref().ok_or(Error::Closed)
    }
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        self.peer()?.poll_incoming(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        if !self.opening {
            self.peer()?.open();
            self.opening = true;
        }
        let opened = self.peer()?.poll_opened(cx);
        self.opening = opened.is_pending();
        opened
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        (*self.peer).take();
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Error>> {
        self.peer()?.poll_ended(cx).map(Err)
    }
}
