//! One data channel as a libp2p stream: two halves that end on their own.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::{Buf, Bytes};

use super::framing::{Decoder, Flag, Frame, FrameError};

/// Our reading half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadHalf {
    Open,
    /// The remote wrote all it had to.
    Ended,
    /// The remote gave up, broke the framing, or is gone.
    Reset,
}

/// Our writing half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteHalf {
    Open,
    /// We said `Fin`.
    Ended,
    /// The remote knows.
    Acknowledged,
    /// The remote reads no more, or is gone.
    Stopped,
    /// We gave up.
    Reset,
}

/// The state of a stream. It lives until its substream is dropped *and* SCTP has let go of it.
#[derive(Debug)]
pub(super) struct Channel {
    /// The SCTP stream that carries it.
    pub stream: u16,
    pub read: ReadHalf,
    pub write: WriteHalf,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    /// Bytes written and not acknowledged.
    pub in_flight: usize,
    /// Messages wait in SCTP because what was read before is not consumed.
    pub waiting: bool,
    /// The substream was dropped; incoming bytes are thrown away until both halves have ended, or
    /// until this time.
    pub abandoned_until: Option<Instant>,
    /// The remote was told that we write no more, by `Fin` or `Reset`. It waits for that even
    /// where it has told us to stop.
    pub said_end: bool,
    /// SCTP has closed the stream under us.
    pub detached: bool,
    /// We have asked SCTP to close it.
    pub closing: bool,
    decoder: Decoder,
    ready: VecDeque<Bytes>,
}

impl Channel {
    pub(super) fn new(stream: u16) -> Self {
        Self {
            stream,
            read: ReadHalf::Open,
            write: WriteHalf::Open,
            reader: None,
            writer: None,
            in_flight: 0,
            waiting: false,
            abandoned_until: None,
            said_end: false,
            detached: false,
            closing: false,
            decoder: Decoder::default(),
            ready: VecDeque::new(),
        }
    }

    /// Whether the next message may be taken out of SCTP: one is read ahead, so that flags are
    /// seen even on a stream that is only written to, and no more.
    pub(super) fn wants_message(&self) -> bool {
        self.ready.is_empty()
    }

    /// Both halves are over, as far as we can know.
    pub(super) fn is_over(&self) -> bool {
        self.read != ReadHalf::Open && !matches!(self.write, WriteHalf::Open | WriteHalf::Ended)
    }

    /// When SCTP is to be asked to close the stream, should the remote not have done so. The channel
    /// of the handshake stays as it is: closing it would free its id and gain nothing.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.abandoned_until.filter(|_| self.stream != super::state::NOISE_STREAM)
    }

    /// Nobody can ask for this channel any more, and SCTP does not know it.
    pub(super) fn is_forgotten(&self) -> bool {
        self.detached && self.abandoned_until.is_some()
    }

    /// Takes a message apart, which `fill` copies out of SCTP. Returns the flag to answer with.
    pub(super) fn handle_message(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Option<Flag>, FrameError> {
        self.decoder.push_with(bytes, fill);
        let mut answer = None;
        while let Some(frame) = self.decoder.next_frame()? {
            answer = self.handle_frame(frame).or(answer);
        }
        if let Some(reader) = self.reader.take_if(|_| !self.ready.is_empty() || self.read != ReadHalf::Open) {
            reader.wake();
        }
        Ok(answer)
    }

    fn handle_frame(&mut self, frame: Frame) -> Option<Flag> {
        if !frame.payload.is_empty() && self.read == ReadHalf::Open && self.abandoned_until.is_none() {
            self.ready.push_back(frame.payload);
        }
        match frame.flag? {
            Flag::Fin => {
                if self.read == ReadHalf::Open {
                    self.read = ReadHalf::Ended;
                }
                Some(Flag::FinAck)
            }
            Flag::FinAck => {
                if self.write == WriteHalf::Ended {
                    self.write = WriteHalf::Acknowledged;
                }
                self.wake_writer();
                None
            }
            Flag::StopSending => {
                if matches!(self.write, WriteHalf::Open | WriteHalf::Ended) {
                    self.write = WriteHalf::Stopped;
                }
                self.wake_writer();
                None
            }
            Flag::Reset => {
                self.reset_read();
                None
            }
        }
    }

    /// What a reader gets now: bytes, the end, or nothing yet.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(front) = self.ready.front_mut()
            && filled < buffer.len()
        {
            let bytes = front.len().min(buffer.len() - filled);
            buffer[filled..filled + bytes].copy_from_slice(&front[..bytes]);
            front.advance(bytes);
            filled += bytes;
            if front.is_empty() {
                self.ready.pop_front();
            }
        }
        if self.ready.is_empty() && self.ready.capacity() > 8 {
            self.ready = VecDeque::new();
        }
        filled
    }

    pub(super) fn reset_read(&mut self) {
        self.read = ReadHalf::Reset;
        self.ready.clear();
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The substream is gone: nobody reads, and what was read is not wanted.
    pub(super) fn abandon(&mut self, until: Instant) {
        self.abandoned_until = Some(until);
        self.ready.clear();
        self.reader = None;
        self.writer = None;
    }

    /// SCTP has no such stream any more. What was read before can still be consumed.
    pub(super) fn handle_detached(&mut self) {
        self.detached = true;
        self.in_flight = 0;
        if self.read == ReadHalf::Open {
            self.read = ReadHalf::Reset;
        }
        if matches!(self.write, WriteHalf::Open | WriteHalf::Ended) {
            self.write = WriteHalf::Stopped;
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        self.wake_writer();
    }

    pub(super) fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::framing::{FRAME_BYTES_MAX, encode};
    use super::*;

    fn receive(channel: &mut Channel, flag: Option<Flag>, payload: &[u8]) -> Option<Flag> {
        let mut bytes = Vec::new();
        encode(flag, payload, &mut bytes);
        channel.handle_message(bytes.len(), |space| space.copy_from_slice(&bytes)).unwrap()
    }

    #[test]
    fn fin_ends_reading_after_its_bytes_and_is_acknowledged() {
        let mut channel = Channel::new(2);
        assert_eq!(receive(&mut channel, Some(Flag::Fin), b"last"), Some(Flag::FinAck));
        let mut buffer = [0; 8];
        assert_eq!(channel.read(&mut buffer), 4);
        assert_eq!(channel.read, ReadHalf::Ended);
        assert_eq!(channel.write, WriteHalf::Open);
    }

    #[test]
    fn reset_throws_away_what_was_not_read() {
        let mut channel = Channel::new(2);
        receive(&mut channel, None, b"bytes");
        receive(&mut channel, Some(Flag::Reset), b"");
        assert_eq!(channel.read(&mut [0; 8]), 0);
        assert_eq!(channel.read, ReadHalf::Reset);
    }

    #[test]
    fn both_halves_end_on_their_own() {
        let mut channel = Channel::new(2);
        channel.write = WriteHalf::Ended;
        receive(&mut channel, Some(Flag::FinAck), b"");
        assert!(!channel.is_over());
        receive(&mut channel, Some(Flag::Fin), b"");
        assert!(channel.is_over());
    }

    #[test]
    fn endless_frame_is_refused_at_its_length() {
        let mut channel = Channel::new(2);
        let mut length = unsigned_varint::encode::usize_buffer();
        let bytes = unsigned_varint::encode::usize(FRAME_BYTES_MAX + 1, &mut length);
        let refused = channel.handle_message(bytes.len(), |space| space.copy_from_slice(bytes));
        assert_eq!(refused, Err(FrameError::TooLong));
    }
}
