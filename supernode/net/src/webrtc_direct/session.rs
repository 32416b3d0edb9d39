//! A session behind its lock: what the driver and the substreams call.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use super::admission::Permit;
use super::channel::{ReadHalf, WriteHalf};
use super::framing::Flag;
use super::state::{ChannelKey, State};
use super::wire::{SessionId, Wire};

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The remote closed the connection.
    #[error("closed by the remote")]
    Remote,
    /// Our side closed or dropped the connection.
    #[error("closed by us")]
    Local,
    /// The remote did not prove its peer id in time.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// DTLS, SCTP or Noise failed.
    #[error("the handshake failed")]
    Handshake,
    /// Nothing was heard from the remote for the idle timeout.
    #[error("the remote fell silent")]
    Silent,
    /// The swarm takes no more incoming connections just now.
    #[error("too many incoming connections at once")]
    Backlog,
    /// A library failed inside; the session is cut so that the others live.
    #[error("an internal fault")]
    Fault,
    /// The listener was shut down.
    #[error("the listener was shut down")]
    Shutdown,
}

impl From<CloseReason> for io::Error {
    fn from(reason: CloseReason) -> Self {
        let kind = match reason {
            CloseReason::HandshakeTimeout | CloseReason::Silent => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::ConnectionReset,
        };
        Self::new(kind, reason)
    }
}

/// A session, shared by the driver, the connection and its substreams.
pub(super) struct Session {
    pub id: SessionId,
    wire: Arc<Wire>,
    state: Mutex<State>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        remote: SocketAddr,
        permit: Permit,
        wire: Arc<Wire>,
        frame_bytes_max: usize,
        now: Instant,
    ) -> Arc<Self> {
        let state = State::new(id, remote, permit, wire.clone(), frame_bytes_max, now);
        let session = Arc::new(Self { id, wire, state: Mutex::new(state) });
        session.appoint(&mut session.lock());
        session
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.lock().remote
    }

    // ---- The driver. ----

    pub(super) fn handle_binding(&self, from: SocketAddr, nominated: bool, now: Instant) {
        self.lock().handle_binding(from, nominated, now);
    }

    /// Takes a datagram in; true when the session has just become ready for Noise.
    pub(super) fn handle_datagram(&self, datagram: &[u8], now: Instant) -> bool {
        let mut state = self.lock();
        state.handle_datagram(datagram, now);
        self.appoint(&mut state);
        state.established && !std::mem::replace(&mut state.announced, true)
    }

    /// The appointment made for `due` has come; others may have been made since.
    pub(super) fn handle_timeout(&self, due: Instant, now: Instant) {
        let mut state = self.lock();
        if state.appointed != Some(due) {
            return;
        }
        state.appointed = None;
        if state.deadline().is_some_and(|deadline| deadline <= now) {
            state.handle_timeout(now);
        }
        self.appoint(&mut state);
    }

    pub(super) fn handle_writable(&self, now: Instant) {
        let mut state = self.lock();
        state.handle_writable(now);
        self.appoint(&mut state);
    }

    pub(super) fn close(&self, reason: CloseReason) {
        self.lock().close(reason, Instant::now());
    }

    // ---- The upgrade. ----

    pub(super) fn client_fingerprint(&self) -> Option<[u8; 32]> {
        self.lock().client_fingerprint
    }

    pub(super) fn open_noise_channel(&self) -> ChannelKey {
        self.lock().open_noise_channel()
    }

    /// The remote has proved its peer id.
    pub(super) fn settle(&self) -> Result<(), CloseReason> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason);
        }
        state.handshake_until = None;
        if let Some(permit) = &mut state.permit {
            permit.settle();
        }
        self.wire.stats.sessions_established.one();
        Ok(())
    }

    // ---- The connection. ----

    pub(super) fn poll_inbound(&self, context: &mut Context<'_>) -> Poll<Result<ChannelKey, CloseReason>> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Poll::Ready(Err(reason));
        }
        if let Some(key) = state.inbound.pop_front() {
            return Poll::Ready(Ok(key));
        }
        state.wakers.inbound = Some(context.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_outbound(&self, context: &mut Context<'_>) -> Poll<Result<ChannelKey, CloseReason>> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Poll::Ready(Err(reason));
        }
        if let Some(key) = state.open_channel(Instant::now()) {
            self.appoint(&mut state);
            return Poll::Ready(Ok(key));
        }
        state.wakers.outbound = Some(context.waker().clone());
        Poll::Pending
    }

    /// The remote's new address, when it has moved.
    pub(super) fn poll_moved(&self, context: &mut Context<'_>) -> Poll<Result<SocketAddr, CloseReason>> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Poll::Ready(Err(reason));
        }
        if let Some(address) = state.address_changed.take() {
            return Poll::Ready(Ok(address));
        }
        state.wakers.events = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits until what was written is acknowledged, then closes.
    pub(super) fn poll_close_gracefully(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed.is_none() && state.window.in_flight() > 0 {
            state.wakers.closing = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.close(CloseReason::Local, Instant::now());
        Poll::Ready(())
    }

    // ---- Substreams. ----

    pub(super) fn poll_read(
        &self,
        key: ChannelKey,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let closed = state.closed;
        let Some(channel) = state.channels.get_mut(&key) else {
            return Poll::Ready(Err(closed.map_or(io::ErrorKind::ConnectionReset.into(), io::Error::from)));
        };
        let bytes = channel.read(buffer);
        if bytes > 0 {
            state.handle_consumed(key, Instant::now());
            self.appoint(&mut state);
            return Poll::Ready(Ok(bytes));
        }
        match channel.read {
            _ if buffer.is_empty() => Poll::Ready(Ok(0)),
            ReadHalf::Ended => Poll::Ready(Ok(0)),
            ReadHalf::Reset => {
                Poll::Ready(Err(closed.map_or(io::ErrorKind::ConnectionReset.into(), io::Error::from)))
            }
            ReadHalf::Open => {
                channel.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_write(
        &self,
        key: ChannelKey,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if let Err(error) = writable(&state, key) {
            return Poll::Ready(Err(error));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let written = state.write(key, bytes, Instant::now());
        self.appoint(&mut state);
        if written > 0 {
            return Poll::Ready(Ok(written));
        }
        if let Err(error) = writable(&state, key) {
            return Poll::Ready(Err(error));
        }
        if let Some(channel) = state.channels.get_mut(&key) {
            channel.writer = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Ends our writing half. What was written is SCTP's to deliver.
    pub(super) fn end_writing(&self, key: ChannelKey) -> io::Result<()> {
        let mut state = self.lock();
        let closed = state.closed;
        let Some(channel) = state.channels.get_mut(&key) else {
            return Err(closed.map_or(io::ErrorKind::ConnectionReset.into(), io::Error::from));
        };
        if channel.write == WriteHalf::Open {
            channel.write = WriteHalf::Ended;
        }
        if !std::mem::replace(&mut channel.said_end, true) {
            state.send_flag(key, Flag::Fin, Instant::now());
            self.appoint(&mut state);
        }
        Ok(())
    }

    pub(super) fn abandon(&self, key: ChannelKey) {
        let mut state = self.lock();
        state.abandon(key, Instant::now());
        self.appoint(&mut state);
    }

    // ---- Inside. ----

    /// Makes sure the driver calls in time.
    fn appoint(&self, state: &mut State) {
        if let Some(deadline) = state.deadline()
            && state.appointed.is_none_or(|appointed| deadline < appointed)
        {
            state.appointed = Some(deadline);
            self.wire.appoint(deadline, self.id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside is caught and cuts the session (see the driver); until then its state may
        // be looked at like any other.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn writable(state: &State, key: ChannelKey) -> io::Result<()> {
    if let Some(reason) = state.closed {
        return Err(reason.into());
    }
    match state.channels.get(&key).map(|channel| (channel.write, channel.detached)) {
        Some((WriteHalf::Open, false)) => Ok(()),
        Some((WriteHalf::Ended | WriteHalf::Acknowledged, _)) => Err(io::ErrorKind::WriteZero.into()),
        Some((WriteHalf::Stopped, _)) => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Err(io::ErrorKind::ConnectionReset.into()),
    }
}
