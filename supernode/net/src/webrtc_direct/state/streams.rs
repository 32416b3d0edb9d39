//! Streams over a session's SCTP association: opened and accepted, read ahead, written within the window,
//! closed so that no id is used again too soon.

use std::time::{Duration, Instant};

use sctp_proto::{Chunks, PayloadProtocolIdentifier as Ppi};

use super::super::channel::{Channel, ReadHalf, WriteHalf};
use super::super::dcep;
use super::super::framing::{self, FRAME_OVERHEAD_BYTES, Flag};
use super::{ChannelKey, State};

/// The channel both sides agree on beforehand; it carries the Noise handshake.
pub(in super::super) const NOISE_STREAM: u16 = 0;

/// How long a dropped stream may take to end properly before SCTP is told to close it.
const LINGER: Duration = Duration::from_secs(10);

/// Stream ids Chromium can use: they are below 1,024, and ours are the odd ones.
const STREAM_ID_END: u16 = 1_024;

impl State {
    /// Opens the channel that both sides know without a word.
    pub(in super::super) fn open_noise_channel(&mut self) -> ChannelKey {
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
    pub(in super::super) fn open_channel(&mut self, now: Instant) -> Option<ChannelKey> {
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
    pub(in super::super) fn write(&mut self, key: ChannelKey, bytes: &[u8], now: Instant) -> usize {
        let Some(channel) = self.channels.get(&key) else { return 0 };
        // A stream with nothing under way may always send a message, up to twice the window: a
        // ping does not wait behind somebody else's download.
        let small_talk = channel.in_flight == 0 && self.window.in_flight() < 2 * self.window.bytes();
        if !self.window.has_room() && !small_talk {
            self.window.handle_blocked();
            return 0;
        }
        let bytes = &bytes[..bytes.len().min(self.frame_bytes_max - FRAME_OVERHEAD_BYTES)];
        if !self.send_frame(key, None, bytes, now) {
            return 0;
        }
        self.drain(now);
        bytes.len()
    }

    /// Sends a flag to the remote, beside all windows: it is a few bytes and comes once.
    pub(in super::super) fn send_flag(&mut self, key: ChannelKey, flag: Flag, now: Instant) {
        self.send_frame(key, Some(flag), &[], now);
        self.drain(now);
    }

    /// Goes on reading after the user has consumed what was there.
    pub(in super::super) fn handle_consumed(&mut self, key: ChannelKey, now: Instant) {
        if self.channels.get(&key).is_some_and(|channel| channel.waiting && channel.wants_message()) {
            self.read_ahead(key, now);
            self.drain(now);
        }
    }

    /// The substream was dropped.
    pub(in super::super) fn abandon(&mut self, key: ChannelKey, now: Instant) {
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

    pub(super) fn detach(&mut self, stream: u16, now: Instant) {
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

    pub(super) fn handle_readable(&mut self, stream: u16, now: Instant) {
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
    pub(super) fn read_everything(&mut self) {
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
    pub(super) fn close_stream(&mut self, key: ChannelKey) {
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

    pub(super) fn count_in_flight(&mut self, now: Instant) {
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
