//! What a session knows, and how datagrams become SCTP's events and back; [`streams`] has what is on top.
//!
//! Every method leaves it drained: events handled, packets sent, wakers woken.

mod streams;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{Event, StreamEvent};
use str0m::config::DtlsVersion;
use str0m::crypto::dtls::{DtlsInstance, DtlsOutput};

use super::admission::Permit;
use super::certificate::sha256;
use super::channel::Channel;
use super::sctp::Sctp;
use super::session::CloseReason;
use super::window::SendWindow;
use super::wire::{SessionId, Wire};

pub(super) use streams::NOISE_STREAM;

/// A datagram, and what DTLS makes of one.
const DATAGRAM_BYTES: usize = 2_048;

/// The largest certificate a remote may show.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// DTLS records plus SCTP packets stay below this on the wire.
const DATAGRAM_TARGET_BYTES: usize = 1_200;

/// Datagrams sent in one call. More save little, and a browser's socket holds some fifty.
const BATCH_DATAGRAMS_MAX: usize = 16;

/// Names a channel for its whole life, over all reuses of its stream id.
pub(super) type ChannelKey = u64;

pub(super) struct State {
    pub id: SessionId,
    pub remote: SocketAddr,
    pub closed: Option<CloseReason>,
    pub permit: Option<Permit>,
    /// The moment before which the remote must have proved its peer id; `None` once it has.
    pub handshake_until: Option<Instant>,
    pub client_fingerprint: Option<[u8; 32]>,
    /// SCTP is up, and the driver has been told.
    pub established: bool,
    pub announced: bool,
    pub channels: HashMap<ChannelKey, Channel>,
    pub inbound: VecDeque<ChannelKey>,
    pub address_changed: Option<SocketAddr>,
    pub wakers: Wakers,
    pub window: SendWindow,
    /// The earliest appointment made with the driver.
    pub appointed: Option<Instant>,
    wire: Arc<Wire>,
    dtls: Option<Box<dyn DtlsInstance>>,
    dtls_timeout: Option<Instant>,
    sctp: Sctp,
    heard: Instant,
    by_stream: BTreeMap<u16, ChannelKey>,
    /// Streams closed by SCTP whose reset is not complete: their ids are not free.
    resetting: HashSet<u16>,
    next_key: ChannelKey,
    batch: Batch,
    /// The longest frame that the remote takes.
    frame_bytes_max: usize,
    /// Datagrams the socket would not take; SCTP is not asked for more until they are gone.
    unsent: VecDeque<Vec<u8>>,
}

/// Datagrams of one length, of which the last may be shorter: one call of the system sends them all.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    segment_bytes: usize,
}

impl Batch {
    fn takes(&self, bytes: usize, segments_max: usize) -> bool {
        self.bytes.is_empty()
            || bytes <= self.segment_bytes
                && self.bytes.len().is_multiple_of(self.segment_bytes)
                && self.bytes.len() / self.segment_bytes < segments_max.min(BATCH_DATAGRAMS_MAX)
    }

    fn push(&mut self, datagram: &[u8]) {
        if self.bytes.is_empty() {
            self.segment_bytes = datagram.len();
        }
        self.bytes.extend_from_slice(datagram);
    }
}

/// Who wants to know what of the connection as a whole.
#[derive(Default)]
pub(super) struct Wakers {
    pub inbound: Option<Waker>,
    pub outbound: Option<Waker>,
    pub events: Option<Waker>,
    pub closing: Option<Waker>,
}

impl Wakers {
    fn wake_all(&mut self) {
        for waker in [&mut self.inbound, &mut self.outbound, &mut self.events, &mut self.closing] {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }
}

impl State {
    pub(super) fn new(
        id: SessionId,
        remote: SocketAddr,
        permit: Permit,
        wire: Arc<Wire>,
        frame_bytes_max: usize,
        now: Instant,
    ) -> Self {
        Self {
            id,
            remote,
            closed: None,
            permit: Some(permit),
            handshake_until: Some(now + wire.limits.handshake_timeout),
            client_fingerprint: None,
            established: false,
            announced: false,
            channels: HashMap::new(),
            inbound: VecDeque::new(),
            address_changed: None,
            wakers: Wakers::default(),
            window: SendWindow::new(wire.limits.send_window_bytes),
            appointed: None,
            dtls: None,
            dtls_timeout: None,
            sctp: Sctp::new(&wire.sctp),
            heard: now,
            by_stream: BTreeMap::new(),
            resetting: HashSet::new(),
            next_key: 0,
            batch: Batch::default(),
            frame_bytes_max,
            unsent: VecDeque::new(),
            wire,
        }
    }

    /// When this session wants to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let linger = self.channels.values().filter_map(Channel::overdue_at).min();
        let idle = self.heard + self.wire.limits.idle_timeout;
        [self.dtls_timeout, self.sctp.poll_timeout(), self.handshake_until, linger, Some(idle)]
            .into_iter()
            .flatten()
            .min()
    }

    // ---- The network speaks. ----

    /// A binding request for this session came from `from`.
    pub(super) fn handle_binding(&mut self, from: SocketAddr, nominated: bool, now: Instant) {
        self.heard = now;
        // Before data flows the client tries paths; afterwards it says which one it moves to.
        if from != self.remote && (nominated || self.dtls.is_none()) {
            tracing::debug!(session = self.id, "the remote moved to another address");
            self.remote = from;
            if self.established {
                self.address_changed = Some(from);
                if let Some(waker) = self.wakers.events.take() {
                    waker.wake();
                }
            }
        }
    }

    /// A DTLS datagram came.
    pub(super) fn handle_datagram(&mut self, datagram: &[u8], now: Instant) {
        if self.closed.is_some() || !self.ensure_dtls(now) {
            return;
        }
        let Some(dtls) = &mut self.dtls else { return };
        self.heard = now;
        // An error is a record nobody can use: anybody may send one, so it ends nothing.
        if let Err(error) = dtls.handle_packet(datagram) {
            self.wire.stats.dropped_dtls.one();
            tracing::trace!(session = self.id, %error, "DTLS datagram dropped");
        }
        self.drain(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.closed.is_some() {
            return;
        }
        if self.handshake_until.is_some_and(|until| until <= now) {
            self.wire.stats.handshakes_timed_out.one();
            return self.close(CloseReason::HandshakeTimeout, now);
        }
        if self.heard + self.wire.limits.idle_timeout <= now {
            return self.close(CloseReason::Silent, now);
        }
        if let Some(dtls) = &mut self.dtls
            && self.dtls_timeout.is_some_and(|at| at <= now)
            && dtls.handle_timeout(now).is_err()
        {
            return self.close(CloseReason::Handshake, now);
        }
        self.sctp.handle_timeout(now);
        let overdue: Vec<ChannelKey> = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.overdue_at().is_some_and(|until| until <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in overdue {
            self.close_stream(key);
        }
        self.drain(now);
    }

    /// The socket takes datagrams again.
    pub(super) fn handle_writable(&mut self, now: Instant) {
        while let Some(datagram) = self.unsent.front() {
            if !self.wire.send(datagram, self.remote) {
                self.wire.wait_for_socket(self.id);
                return;
            }
            self.unsent.pop_front();
        }
        self.drain(now);
    }

    // ---- Our user speaks. ----

    /// Closes the session: the remote is told, everybody who waits is woken.
    pub(super) fn close(&mut self, reason: CloseReason, now: Instant) {
        if self.closed.is_some() {
            return;
        }
        tracing::debug!(session = self.id, %reason, "session closed");
        self.flush();
        self.closed = Some(reason);
        if reason == CloseReason::Remote {
            self.read_everything();
        }
        if let Some(mut dtls) = self.dtls.take()
            && dtls.close().is_ok()
        {
            let mut buffer = [0; DATAGRAM_BYTES];
            while let DtlsOutput::Packet(packet) = dtls.poll_output(&mut buffer) {
                self.wire.send(packet, self.remote);
            }
        }
        for channel in self.channels.values_mut() {
            channel.handle_detached();
        }
        self.channels.retain(|_, channel| !channel.is_forgotten());
        self.sctp = Sctp::new(&self.wire.sctp);
        self.unsent = VecDeque::new();
        self.inbound.clear();
        self.permit = None;
        self.wakers.wake_all();
        self.wire.stats.sessions_closed.one();
        self.wire.appoint(now, self.id);
    }

    // ---- Inside. ----

    fn ensure_dtls(&mut self, now: Instant) -> bool {
        if self.dtls.is_none() {
            let made = self.wire.crypto.dtls_provider.new_dtls(
                self.wire.certificate.dtls(),
                now,
                DtlsVersion::Dtls12,
                Some(DATAGRAM_TARGET_BYTES),
            );
            match made {
                Ok(mut dtls) => {
                    dtls.set_active(false);
                    // Gives it the time; it has none of its own.
                    let _ = dtls.handle_timeout(now);
                    self.dtls = Some(dtls);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot begin DTLS");
                    self.close(CloseReason::Handshake, now);
                }
            }
        }
        self.dtls.is_some()
    }

    /// Moves everything that can move, until nothing does.
    fn drain(&mut self, now: Instant) {
        loop {
            self.drain_dtls(now);
            if self.closed.is_some() {
                return;
            }
            while let Some(event) = self.sctp.poll_event() {
                self.handle_event(event, now);
                if self.closed.is_some() {
                    return;
                }
            }
            if !self.transmit() {
                break;
            }
        }
        self.flush();
        self.count_in_flight(now);
    }

    fn drain_dtls(&mut self, now: Instant) {
        let mut stack = [0; DATAGRAM_BYTES];
        let mut heap = Vec::new();
        let mut closing = None;
        while let Some(dtls) = &mut self.dtls {
            let buffer = if heap.is_empty() { &mut stack[..] } else { &mut heap[..] };
            match dtls.poll_output(buffer) {
                DtlsOutput::Packet(packet) => {
                    if !self.batch.takes(packet.len(), self.wire.segments_max()) {
                        self.flush();
                    }
                    self.batch.push(packet);
                }
                DtlsOutput::ApplicationData(data) => {
                    self.sctp.handle_datagram(now, Bytes::copy_from_slice(data));
                }
                DtlsOutput::PeerCert(certificate) => self.client_fingerprint = Some(sha256(certificate)),
                DtlsOutput::CloseNotify => closing = Some(CloseReason::Remote),
                DtlsOutput::BufferTooSmall { needed } if needed <= CERTIFICATE_BYTES_MAX => {
                    heap = vec![0; needed];
                }
                DtlsOutput::BufferTooSmall { .. } => {
                    closing = Some(CloseReason::Handshake);
                    break;
                }
                DtlsOutput::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    break;
                }
                _ => {}
            }
        }
        if let Some(reason) = closing {
            self.close(reason, now);
        }
    }

    /// Sends what DTLS has made, or keeps it until the socket takes it.
    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.bytes.is_empty() {
            return;
        }
        let waiting = !self.unsent.is_empty();
        if waiting || !self.wire.send_segments(&batch.bytes, batch.segment_bytes, self.remote) {
            self.unsent.extend(batch.bytes.chunks(batch.segment_bytes).map(<[u8]>::to_vec));
            if !waiting {
                self.wire.wait_for_socket(self.id);
            }
        }
    }

    /// Lets SCTP's packets out; whether there were any.
    fn transmit(&mut self) -> bool {
        if !self.unsent.is_empty() {
            return false;
        }
        let now = Instant::now();
        let Some(packets) = self.sctp.poll_transmit(now) else { return false };
        for packet in packets {
            let Some(dtls) = &mut self.dtls else { return false };
            if let Err(error) = dtls.send_application_data(&packet) {
                tracing::debug!(session = self.id, %error, "SCTP packet not sent");
            }
            self.drain_dtls(now);
        }
        true
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.established = true,
            Event::HandshakeFailed { .. } => self.close(CloseReason::Handshake, now),
            Event::AssociationLost { reason } => {
                tracing::debug!(session = self.id, %reason, "SCTP association lost");
                self.close(CloseReason::Remote, now);
            }
            Event::Stream(StreamEvent::Opened { id } | StreamEvent::Readable { id }) => {
                self.handle_readable(id, now);
            }
            Event::Stream(StreamEvent::Finished { id }) => {
                self.resetting.insert(id);
                self.detach(id, now);
            }
            // An id whose reset failed stays taken: SCTP would refuse it anyway.
            Event::Stream(StreamEvent::ResetComplete { id }) => {
                self.resetting.remove(&id);
                if let Some(waker) = self.wakers.outbound.take() {
                    waker.wake();
                }
            }
            _ => {}
        }
    }
}
