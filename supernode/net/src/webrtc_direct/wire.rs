//! What all sessions of a listener share: the socket, the clock's appointments, the counters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use str0m::crypto::CryptoProvider;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::certificate::Certificate;
use super::limits::Limits;
use super::sctp::SctpConfig;
use super::stats::Stats;

/// Names a session within its listener.
pub(super) type SessionId = u64;

/// The shared side of a listener.
#[derive(Debug)]
pub(super) struct Wire {
    pub socket: UdpSocket,
    udp: UdpSocketState,
    pub crypto: CryptoProvider,
    pub certificate: Certificate,
    pub limits: Limits,
    pub sctp: SctpConfig,
    pub stats: Arc<Stats>,
    /// Wakes the driver: an earlier appointment, or a session that waits for the socket.
    pub attention: Notify,
    appointments: Mutex<BinaryHeap<Reverse<(Instant, SessionId)>>>,
    waiting: Mutex<Vec<SessionId>>,
}

impl Wire {
    pub(super) fn new(
        socket: UdpSocket,
        certificate: Certificate,
        limits: Limits,
        stats: Arc<Stats>,
    ) -> io::Result<Self> {
        let sctp = SctpConfig::new(limits.receive_window_bytes);
        Ok(Self {
            udp: UdpSocketState::new((&socket).into())?,
            socket,
            crypto: str0m::crypto::from_feature_flags(),
            certificate,
            limits,
            sctp,
            stats,
            attention: Notify::new(),
            appointments: Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    /// How many datagrams of one length the system takes in one call.
    pub(super) fn segments_max(&self) -> usize {
        self.udp.max_gso_segments()
    }

    /// Sends a datagram, or says that the socket takes no more now. Other failures are a lost
    /// packet to the protocols above.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) -> bool {
        self.send_segments(datagram, datagram.len(), to)
    }

    /// Sends datagrams of `segment_bytes` each, the last one perhaps shorter; all or none.
    pub(super) fn send_segments(&self, contents: &[u8], segment_bytes: usize, to: SocketAddr) -> bool {
        let segment_size = (contents.len() > segment_bytes).then_some(segment_bytes);
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        let send = || self.udp.try_send((&self.socket).into(), &transmit);
        match self.socket.try_io(Interest::WRITABLE, send) {
            Ok(()) => {
                self.stats.datagrams_out.add(contents.len().div_ceil(segment_bytes.max(1)) as u64);
                self.stats.bytes_out.add(contents.len() as u64);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stats.socket_full.one();
                false
            }
            Err(error) => {
                tracing::trace!(%error, "datagram not sent");
                true
            }
        }
    }

    /// Takes datagrams in; each buffer gets one, or several that came from one source.
    ///
    /// # Errors
    /// `WouldBlock` where none are there; else what the system says of an earlier one.
    pub(super) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        about: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let receive = || self.udp.recv((&self.socket).into(), buffers, about);
        self.socket.try_io(Interest::READABLE, receive)
    }

    /// The session wants to go on once the socket takes datagrams again.
    pub(super) fn wait_for_socket(&self, session: SessionId) {
        self.lock_waiting().push(session);
        self.attention.notify_one();
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.lock_waiting().is_empty()
    }

    pub(super) fn take_waiting(&self) -> Vec<SessionId> {
        std::mem::take(&mut *self.lock_waiting())
    }

    /// The session wants to be called at `at`.
    pub(super) fn appoint(&self, at: Instant, session: SessionId) {
        let mut appointments = self.lock_appointments();
        let earlier = appointments.peek().is_none_or(|Reverse((first, _))| at < *first);
        appointments.push(Reverse((at, session)));
        drop(appointments);
        if earlier {
            self.attention.notify_one();
        }
    }

    pub(super) fn next_appointment(&self) -> Option<Instant> {
        self.lock_appointments().peek().map(|Reverse((at, _))| *at)
    }

    /// The next session whose time has come.
    pub(super) fn take_due(&self, now: Instant) -> Option<(Instant, SessionId)> {
        let mut appointments = self.lock_appointments();
        appointments.peek().filter(|Reverse((at, _))| *at <= now)?;
        appointments.pop().map(|Reverse(due)| due)
    }

    fn lock_appointments(&self) -> MutexGuard<'_, BinaryHeap<Reverse<(Instant, SessionId)>>> {
        self.appointments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Vec<SessionId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
