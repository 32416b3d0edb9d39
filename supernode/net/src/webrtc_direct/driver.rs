//! The task of a listener: one socket, its sessions, their appointments.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_udp::RecvMeta;
use tokio::io::Interest;
use tokio::sync::mpsc;

use super::admission::Admission;
use super::allowance::Allowance;
use super::session::{CloseReason, Session};
use super::stun;
use super::wire::{SessionId, Wire};

/// Longest datagram taken in. Ours stay at 1,200; nothing honest exceeds an Ethernet frame.
const DATAGRAM_BYTES_MAX: usize = 1_600;

/// Times the socket is asked before the clock is looked at again.
const BURST: usize = 16;

/// Buffers filled at once. A source that sends several datagrams in one call has them in one buffer, so each holds as
/// much as UDP can say.
const BUFFERS: usize = 8;
const BUFFER_BYTES: usize = 64 * 1024;

/// Addresses a session may be reached at: browsers try several before they settle.
const ADDRESSES_PER_SESSION: usize = 4;

/// How long the name of a closed session is remembered, so that the checks its client still sends
/// do not begin a new one; and how many names.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
const REMEMBERED_MAX: usize = 4_096;

/// How long the driver sleeps when nobody has an appointment.
const IDLE_SLEEP: Duration = Duration::from_secs(3_600);

/// Runs until the listener is dropped.
pub(super) struct Driver {
    wire: Arc<Wire>,
    admission: Arc<Admission>,
    incoming: mpsc::Sender<Arc<Session>>,
    sessions: HashMap<SessionId, Known>,
    by_fragment: HashMap<Box<str>, SessionId>,
    by_address: HashMap<SocketAddr, SessionId>,
    closed: VecDeque<(Instant, Box<str>)>,
    closed_names: HashSet<Box<str>>,
    next_id: SessionId,
    strangers: Allowance,
}

struct Known {
    session: Arc<Session>,
    fragment: Box<str>,
    addresses: VecDeque<SocketAddr>,
}

impl Driver {
    pub(super) fn new(
        wire: Arc<Wire>,
        admission: Arc<Admission>,
        incoming: mpsc::Sender<Arc<Session>>,
    ) -> Self {
        Self {
            wire,
            admission,
            incoming,
            sessions: HashMap::new(),
            by_fragment: HashMap::new(),
            by_address: HashMap::new(),
            closed: VecDeque::new(),
            closed_names: HashSet::new(),
            next_id: 0,
            strangers: Allowance::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let wire = self.wire.clone();
        let sleep = tokio::time::sleep(IDLE_SLEEP);
        tokio::pin!(sleep);
        let mut buffer = vec![0; BUFFERS * BUFFER_BYTES];
        loop {
            let at = wire.next_appointment().unwrap_or_else(|| Instant::now() + IDLE_SLEEP);
            if sleep.deadline().into_std() != at {
                sleep.as_mut().reset(at.into());
            }
            let interest = if wire.is_waited_for() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            let mut writable = false;
            tokio::select! {
                () = self.incoming.closed() => break,
                () = &mut sleep => {}
                () = wire.attention.notified() => {}
                ready = wire.socket.ready(interest) => match ready {
                    Ok(ready) => writable = ready.is_writable(),
                    Err(error) => {
                        tracing::error!(%error, "the WebRTC socket failed");
                        break;
                    }
                }
            }
            self.receive(&mut buffer);
            if writable {
                self.flush();
            }
            self.keep_appointments();
        }
        for known in self.sessions.values() {
            known.session.close(CloseReason::Shutdown);
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        let now = Instant::now();
        for _ in 0..BURST {
            let mut about = [RecvMeta::default(); BUFFERS];
            let (slices, _) = buffer.as_chunks_mut::<BUFFER_BYTES>();
            let Ok(slices) = <&mut [_; BUFFERS]>::try_from(slices) else { return };
            let received =
                self.wire.receive(&mut slices.each_mut().map(|slice| IoSliceMut::new(slice)), &mut about);
            match received {
                Ok(filled) => {
                    for (slice, about) in slices.iter().zip(&about[..filled]) {
                        for datagram in slice[..about.len].chunks(about.stride.max(1)) {
                            self.wire.stats.datagrams_in.one();
                            self.wire.stats.bytes_in.add(datagram.len() as u64);
                            self.handle_datagram(datagram, about.addr, now);
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // An ICMP answer to an earlier datagram; it says nothing about this socket.
                Err(error) => tracing::trace!(%error, "receive failed"),
            }
        }
    }

    fn flush(&mut self) {
        for id in self.wire.take_waiting() {
            self.with_session(id, |session, now| session.handle_writable(now));
        }
    }

    fn keep_appointments(&mut self) {
        let now = Instant::now();
        while let Some((due, id)) = self.wire.take_due(now) {
            self.with_session(id, |session, now| session.handle_timeout(due, now));
            if self.sessions.get(&id).is_some_and(|known| known.session.is_closed()) {
                self.forget(id, now);
            }
        }
        while self.closed.front().is_some_and(|(since, _)| *since + REMEMBERED_FOR <= now)
            || self.closed.len() > REMEMBERED_MAX
        {
            if let Some((_, fragment)) = self.closed.pop_front() {
                self.closed_names.remove(&fragment);
            }
        }
    }

    fn handle_datagram(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            self.wire.stats.dropped_garbage.one();
        } else if stun::is_stun(datagram) {
            self.handle_stun(datagram, from, now);
        } else if stun::is_dtls(datagram) {
            let Some(id) = self.by_address.get(&from).copied() else {
                return self.wire.stats.dropped_unknown_source.one();
            };
            let ready = self.with_session(id, |session, now| session.handle_datagram(datagram, now));
            if ready == Some(true) {
                self.announce(id);
            }
        } else {
            self.wire.stats.dropped_garbage.one();
        }
    }

    fn handle_stun(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let wire = self.wire.clone();
        let Some(binding) = stun::parse(datagram, &wire.crypto) else {
            match stun::answer_stranger(datagram, from).filter(|_| self.strangers.take(now)) {
                Some(answer) => {
                    wire.stats.answered_strangers.one();
                    wire.send(&answer, from);
                }
                None => wire.stats.dropped_stun.one(),
            }
            return;
        };
        // Unanswered, its client will notice that the session is over.
        if self.closed_names.contains(binding.fragment) {
            return wire.stats.dropped_stun.one();
        }
        let id = match self.by_fragment.get(binding.fragment) {
            Some(id) => *id,
            None => match self.begin(binding.fragment, from, now) {
                Some(id) => id,
                None => return,
            },
        };
        self.learn_address(id, from);
        if let Some(known) = self.sessions.get(&id) {
            known.session.handle_binding(from, binding.nominated, now);
        }
        let mut buffer = [0; 512];
        if let Some(answer) = stun::answer(&binding, from, &wire.crypto, &mut buffer) {
            // Lost if the socket is full: the client asks again.
            wire.send(answer, from);
        }
    }

    fn begin(&mut self, fragment: &str, from: SocketAddr, now: Instant) -> Option<SessionId> {
        let permit = self.admission.admit(from.ip()).ok()?;
        let id = self.next_id;
        self.next_id += 1;
        let session = Session::new(id, from, permit, self.wire.clone(), stun::frame_bytes_max(fragment), now);
        let fragment: Box<str> = fragment.into();
        self.by_fragment.insert(fragment.clone(), id);
        self.sessions.insert(id, Known { session, fragment, addresses: VecDeque::new() });
        Some(id)
    }

    /// Datagrams from `from` are this session's from now on.
    fn learn_address(&mut self, id: SessionId, from: SocketAddr) {
        if self.by_address.get(&from) == Some(&id) {
            return;
        }
        let Some(known) = self.sessions.get_mut(&id) else { return };
        if known.addresses.len() >= ADDRESSES_PER_SESSION
            && let Some(oldest) = known.addresses.pop_front()
            && self.by_address.get(&oldest) == Some(&id)
        {
            self.by_address.remove(&oldest);
        }
        known.addresses.push_back(from);
        self.by_address.insert(from, id);
    }

    /// Hands a session that is ready for Noise to the swarm.
    fn announce(&mut self, id: SessionId) {
        if let Some(known) = self.sessions.get(&id)
            && self.incoming.try_send(known.session.clone()).is_err()
        {
            known.session.close(CloseReason::Backlog);
        }
    }

    fn forget(&mut self, id: SessionId, now: Instant) {
        let Some(known) = self.sessions.remove(&id) else { return };
        for address in known.addresses {
            if self.by_address.get(&address) == Some(&id) {
                self.by_address.remove(&address);
            }
        }
        self.by_fragment.remove(&known.fragment);
        self.closed_names.insert(known.fragment.clone());
        self.closed.push_back((now, known.fragment));
    }

    /// Calls into a session. A panic inside (the libraries below see hostile bytes too) cuts that
    /// session and no other.
    fn with_session<T>(&self, id: SessionId, call: impl FnOnce(&Session, Instant) -> T) -> Option<T> {
        let session = &self.sessions.get(&id)?.session;
        match catch_unwind(AssertUnwindSafe(|| call(session, Instant::now()))) {
            Ok(value) => Some(value),
            Err(_) => {
                self.wire.stats.sessions_faulted.one();
                tracing::error!(session = id, "a session failed inside and is cut");
                let _ = catch_unwind(AssertUnwindSafe(|| session.close(CloseReason::Fault)));
                None
            }
        }
    }
}
