//! What a session knows, and how it turns datagrams into streams and back.
//!
//! Every method leaves it drained: events handled, packets sent, wakers woken.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{Chunks, Event, PayloadProtocolIdentifier as Ppi, StreamEvent};
use str0m::config::DtlsVersion;
use str0m::crypto::dtls::{DtlsInstance, DtlsOutput};

use super::admission::Permit;
use super::certificate::sha256;
use super::channel::{Channel, ReadHalf, WriteHalf};
use super::dcep;
use super::framing::{self, Flag, PAYLOAD_BYTES_MAX};
use super::sctp::Sctp;
use super::session::CloseReason;
use super::window::SendWindow;
use super::wire::{SessionId, Wire};

/// The channel both sides agree on beforehand; it carries the Noise handshake.
pub(super) const NOISE_STREAM: u16 = 0;

/// How long a dropped stream may take to end properly before SCTP is told to close it.
const LINGER: Duration = Duration::from_secs(10);

/// Stream ids Chromium can use: they are below 1,024, and ours are the odd ones.
const STREAM_ID_END: u16 = 1_024;

/// A datagram, and what DTLS makes of one.
const DATAGRAM_BYTES: usize = 2_048;

/// The largest certificate a remote may show.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// DTLS records plus SCTP packets stay below this on the wire.
const DATAGRAM_TARGET_BYTES: usize = 1_200;

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
    /// Datagrams the socket would not take; SCTP is not asked for more until they are gone.
    unsent: VecDeque<Vec<u8>>,
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

    /// Opens the channel that both sides know without a word.
    pub(super) fn open_noise_channel(&mut self) -> ChannelKey {
        let known = self.by_stream.get(&NOISE_STREAM).copied();
        known.unwrap_or_else(|| {
            if let Some(association) = self.sctp.association() {
                // It may exist already, if the remote has spoken first: the same stream then.
                let _ = association.open_stream(NOISE_STREAM, Ppi::Binary);
            }
            self.insert_channel(NOISE_STREAM)
        })
    }

    /// Opens a channel of ours. `None`: the limit is reached, ask again when one has ended.
    pub(super) fn open_channel(&mut self, now: Instant) -> Option<ChannelKey> {
        if self.live_streams(1) >= self.wire.limits.streams {
            return None;
        }
        let free = (1..STREAM_ID_END)
            .step_by(2)
            .find(|id| !self.by_stream.contains_key(id) && !self.resetting.contains(id))?;
        let mut stream = self.sctp.association()?.open_stream(free, Ppi::Binary).ok()?;
        stream.write_with_ppi(&dcep::OPEN, Ppi::Dcep).ok()?;
        let key = self.insert_channel(free);
        self.drain(now);
        Some(key)
    }

    /// Writes what the window allows of `bytes`; 0 if it allows nothing now.
    pub(super) fn write(&mut self, key: ChannelKey, bytes: &[u8], now: Instant) -> usize {
        let Some(channel) = self.channels.get(&key) else { return 0 };
        // A stream with nothing under way may always send a message, up to twice the window: a
        // ping does not wait behind somebody else's download.
        let small_talk = channel.in_flight == 0 && self.window.in_flight() < 2 * self.window.bytes();
        if !self.window.has_room() && !small_talk {
            self.window.handle_blocked();
            return 0;
        }
        let bytes = &bytes[..bytes.len().min(PAYLOAD_BYTES_MAX)];
        if !self.send_frame(key, None, bytes, now) {
            return 0;
        }
        self.drain(now);
        bytes.len()
    }

    /// Sends a flag to the remote, beside all windows: it is a few bytes and comes once.
    pub(super) fn send_flag(&mut self, key: ChannelKey, flag: Flag, now: Instant) {
        self.send_frame(key, Some(flag), &[], now);
        self.drain(now);
    }

    /// Goes on reading after the user has consumed what was there.
    pub(super) fn handle_consumed(&mut self, key: ChannelKey, now: Instant) {
        if self.channels.get(&key).is_some_and(|channel| channel.waiting && channel.wants_message()) {
            self.read_ahead(key, now);
            self.drain(now);
        }
    }

    /// The substream was dropped.
    pub(super) fn abandon(&mut self, key: ChannelKey, now: Instant) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.abandon(now + LINGER);
        let stop = channel.read == ReadHalf::Open;
        let end = match channel.write {
            WriteHalf::Open => {
                channel.write = WriteHalf::Reset;
                Some(Flag::Reset)
            }
            _ => Some(Flag::Fin),
        };
        let end = end.filter(|_| !std::mem::replace(&mut channel.said_end, true));
        if channel.is_forgotten() {
            self.channels.remove(&key);
            return;
        }
        if stop {
            self.send_frame(key, Some(Flag::StopSending), &[], now);
        }
        if end.is_some() {
            self.send_frame(key, end, &[], now);
        }
        self.read_ahead(key, now);
        self.drain(now);
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

    /// Streams with a half still open, of the ids with this remainder by two: ours are odd.
    fn live_streams(&self, remainder: u16) -> usize {
        let live = |channel: &&Channel| channel.stream % 2 == remainder && !channel.is_over();
        self.channels.values().filter(live).count()
    }

    fn insert_channel(&mut self, stream: u16) -> ChannelKey {
        let key = self.next_key;
        self.next_key += 1;
        self.channels.insert(key, Channel::new(stream));
        self.by_stream.insert(stream, key);
        key
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
                    let waiting = !self.unsent.is_empty();
                    if waiting || !self.wire.send(packet, self.remote) {
                        self.unsent.push_back(packet.to_vec());
                        if !waiting {
                            self.wire.wait_for_socket(self.id);
                        }
                    }
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

    fn detach(&mut self, stream: u16, now: Instant) {
        let Some(key) = self.by_stream.remove(&stream) else { return };
        let Some(channel) = self.channels.get_mut(&key) else { return };
        if std::mem::take(&mut channel.waiting) {
            self.sctp.handle_caught_up(now);
        }
        channel.handle_detached();
        if channel.is_forgotten() {
            self.channels.remove(&key);
        }
    }

    fn handle_readable(&mut self, stream: u16, now: Instant) {
        match self.by_stream.get(&stream).copied() {
            Some(key) => self.read_ahead(key, now),
            None if stream == NOISE_STREAM && self.handshake_until.is_some() => {
                let key = self.open_noise_channel();
                self.read_ahead(key, now);
            }
            None => self.accept(stream),
        }
    }

    /// A stream we do not know: its first message must open it.
    fn accept(&mut self, stream: u16) {
        let full = self.live_streams(0) >= self.wire.limits.streams
            || self.by_stream.len() >= usize::from(STREAM_ID_END);
        let Some(mut sctp_stream) = self.sctp.stream(stream) else { return };
        let opened = match sctp_stream.read_sctp() {
            Ok(Some(message)) if message.ppi == Ppi::Dcep => {
                let mut bytes = vec![0; message.len()];
                message.read(&mut bytes).is_ok() && dcep::parse(&bytes) == Some(dcep::Control::Open)
            }
            Ok(None) => return,
            _ => false,
        };
        if full || !opened || sctp_stream.write_with_ppi(&dcep::ACK, Ppi::Dcep).is_err() {
            let counter =
                if full { &self.wire.stats.streams_refused } else { &self.wire.stats.streams_malformed };
            counter.one();
            // Fails only where the association is over, and the stream with it.
            let _ = sctp_stream.close();
            return;
        }
        let key = self.insert_channel(stream);
        self.inbound.push_back(key);
        if let Some(waker) = self.wakers.inbound.take() {
            waker.wake();
        }
        self.read_ahead(key, Instant::now());
    }

    /// Takes messages out of SCTP as far as the channel wants them.
    fn read_ahead(&mut self, key: ChannelKey, now: Instant) {
        while let Some(channel) = self.channels.get_mut(&key)
            && !channel.detached
            && !channel.closing
        {
            let waiting = channel.waiting;
            if !channel.wants_message() {
                if !waiting {
                    channel.waiting = true;
                    self.sctp.handle_waiting();
                }
                return;
            }
            let stream = channel.stream;
            let message = self.sctp.stream(stream).and_then(|mut stream| stream.read_sctp().ok().flatten());
            let Some(message) = message else {
                if waiting {
                    channel.waiting = false;
                    self.sctp.handle_caught_up(now);
                }
                return;
            };
            if waiting {
                self.sctp.handle_read(message.len(), now);
            }
            let Some(channel) = self.channels.get_mut(&key) else { return };
            let answer = match message.ppi {
                Ppi::Binary => channel.handle_message(message.len(), |space| copy(&message, space)),
                // The acknowledgement of our opening says nothing new; an empty message nothing at all.
                Ppi::Dcep | Ppi::BinaryEmpty => Ok(None),
                _ => Err(framing::FrameError::BadMessage),
            };
            match answer {
                Ok(Some(flag)) => drop(self.send_frame(key, Some(flag), &[], now)),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(session = self.id, %error, "stream reset: its remote broke the framing");
                    self.wire.stats.streams_malformed.one();
                    channel.reset_read();
                    channel.write = WriteHalf::Reset;
                    channel.wake_writer();
                    self.close_stream(key);
                }
            }
        }
    }

    /// The remote is gone, but what it sent before belongs to the readers. Bounded by the receive
    /// window, for nothing can be added to it.
    fn read_everything(&mut self) {
        for channel in self.channels.values_mut().filter(|channel| channel.waiting) {
            while let Some(message) =
                self.sctp.stream(channel.stream).and_then(|mut stream| stream.read_sctp().ok().flatten())
            {
                let taken = channel.handle_message(message.len(), |space| copy(&message, space));
                if message.ppi != Ppi::Binary || taken.is_err() {
                    break;
                }
            }
        }
    }

    fn send_frame(&mut self, key: ChannelKey, flag: Option<Flag>, payload: &[u8], now: Instant) -> bool {
        let Some(channel) = self.channels.get_mut(&key).filter(|channel| !channel.detached) else {
            return false;
        };
        let mut frame = Vec::with_capacity(payload.len() + 8);
        framing::encode(flag, payload, &mut frame);
        let Some(mut stream) = self.sctp.stream(channel.stream) else { return false };
        if let Err(error) = stream.write_with_ppi(&frame, Ppi::Binary) {
            tracing::debug!(session = self.id, %error, "frame not sent");
            return false;
        }
        channel.in_flight += frame.len();
        self.window.handle_written(frame.len(), now);
        true
    }

    /// Asks SCTP to close the stream under a channel that its user has dropped.
    ///
    /// Only where the remote does not: a remote that has seen both halves end closes the channel
    /// itself, and SCTP answers that. Were we to ask too, the crate would reset the stream twice,
    /// and the second could meet a new channel that the remote has given the same id.
    fn close_stream(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        if !channel.closing {
            channel.closing = true;
            if let Some(mut stream) = self.sctp.stream(channel.stream) {
                let _ = stream.close();
            }
        }
        // Asked twice, or nothing to ask: the id is quarantined by SCTP itself until it is free.
        channel.abandoned_until = Some(Instant::now() + LINGER);
    }

    fn count_in_flight(&mut self, now: Instant) {
        if self.window.in_flight() == 0 {
            return;
        }
        let mut total = 0;
        for channel in self.channels.values_mut().filter(|channel| channel.in_flight > 0) {
            let stream = self.sctp.stream(channel.stream);
            channel.in_flight = stream.and_then(|stream| stream.buffered_amount().ok()).unwrap_or(0);
            total += channel.in_flight;
        }
        self.window.handle_in_flight(total, now);
        if self.window.is_low() {
            for channel in self.channels.values_mut() {
                channel.wake_writer();
            }
        }
        if total == 0
            && let Some(waker) = self.wakers.closing.take()
        {
            waker.wake();
        }
    }
}

/// Copies a message out of the pieces it came in.
fn copy(message: &Chunks, space: &mut [u8]) {
    // Fails only where the space is too small, and it is as large as the message says.
    let _ = message.read(space);
}
