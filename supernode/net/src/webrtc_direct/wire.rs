//! What all sessions of a listener share: the socket, the clock's appointments, the counters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use str0m::crypto::CryptoProvider;
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
    ) -> Self {
        let sctp = SctpConfig::new(limits.receive_window_bytes);
        Self {
            socket,
            crypto: str0m::crypto::from_feature_flags(),
            certificate,
            limits,
            sctp,
            stats,
            attention: Notify::new(),
            appointments: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Sends a datagram, or says that the socket takes no more now. Other failures are a lost
    /// packet to the protocols above.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) -> bool {
        match self.socket.try_send_to(datagram, to) {
            Ok(bytes) => {
                self.stats.datagrams_out.one();
                self.stats.bytes_out.add(bytes as u64);
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
