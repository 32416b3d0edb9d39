//! A libp2p WebRTC stream as a state machine: two halves that close apart, over one data channel.
//!
//! ```text
//! writing:  Open ──finish──► Finished ──FIN_ACK──► Acknowledged
//!             └──STOP_SENDING──► Refused
//! reading:  Open ──FIN──► Ended          (what had arrived is still read)
//! both:     RESET, broken frames, a lost channel ──► Broken(reason)
//! ```
//!
//! Goals: nothing that was acknowledged is lost; a reader that pauses loses nothing until it is
//! [`READ_BYTES_MAX`] behind; a stream always knows whether its channel may be closed.
//!
//! Non-goal: back-pressure on the remote. A browser hands over what arrives, so the protocol above
//! asks for no more than it can hold; this bound is for those who do not ask.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::framing::{Decoder, Flag, Frame, FrameError};

/// What a stream keeps for a reader that is not reading: a second of a fast path, far over what our
/// own pull protocol ever has outstanding, and little enough that many streams cannot hurt a tab.
pub(crate) const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a stream ended before both sides had finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The remote abandoned the stream.
    #[error("the remote reset the stream")]
    Reset,
    /// The remote reads no more.
    #[error("the remote stopped reading")]
    Refused,
    /// We have already finished or abandoned our half.
    #[error("the stream was finished by this side")]
    Finished,
    /// The channel went before the remote had finished.
    #[error("the data channel closed before the stream ended")]
    ChannelClosed,
    /// The remote sent more than a reader that does not read may be sent.
    #[error("the remote sent over {READ_BYTES_MAX} bytes that nobody read")]
    Overrun,
    /// The remote does not speak the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Open,
    Refused,
    Finished,
    Acknowledged,
}

/// One stream's state; knows nothing of browsers.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    decoder: Decoder,
    frames: VecDeque<Frame>,
    readable: VecDeque<Bytes>,
    readable_bytes: usize,
    ended: bool,
    stopped: bool,
    writing: Writing,
    broken: Option<StreamError>,
    /// Answers owed to the remote; at most one of each flag.
    flags: VecDeque<Flag>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            decoder: Decoder::default(),
            frames: VecDeque::new(),
            readable: VecDeque::new(),
            readable_bytes: 0,
            ended: false,
            stopped: false,
            writing: Writing::Open,
            broken: None,
            flags: VecDeque::new(),
        }
    }
}

impl Lifecycle {
    /// Whether bytes may be sent, and if not, why.
    pub(crate) fn writable(&self) -> Result<(), StreamError> {
        match (self.broken, self.writing) {
            (Some(reason), _) => Err(reason),
            (None, Writing::Open) => Ok(()),
            (None, Writing::Refused) => Err(StreamError::Refused),
            (None, Writing::Finished | Writing::Acknowledged) => Err(StreamError::Finished),
        }
    }

    /// Nothing is outstanding in either direction: closing the channel loses nothing.
    pub(crate) fn is_over(&self) -> bool {
        let written = matches!(self.writing, Writing::Acknowledged | Writing::Refused);
        self.broken.is_some() || (written && (self.ended || self.stopped))
    }

    /// A message arrived.
    pub(crate) fn handle_message(&mut self, bytes: Bytes) {
        if self.broken.is_some() {
            return;
        }
        let decoded = self.decoder.handle_bytes(bytes, &mut self.frames);
        while let Some(frame) = self.frames.pop_front() {
            self.handle_frame(frame);
        }
        if let Err(error) = decoded {
            self.break_off(error.into());
        }
    }

    /// The channel is gone; what had arrived may still be read.
    pub(crate) fn handle_channel_closed(&mut self) {
        if !self.ended && self.broken.is_none() {
            self.broken = Some(StreamError::ChannelClosed);
        }
        if self.writing != Writing::Acknowledged {
            self.writing = Writing::Refused;
        }
    }

    fn handle_frame(&mut self, frame: Frame) {
        if !frame.payload.is_empty() && !self.ended && !self.stopped {
            self.readable_bytes += frame.payload.len();
            if self.readable_bytes > READ_BYTES_MAX {
                return self.break_off(StreamError::Overrun);
            }
            self.readable.push_back(frame.payload);
        }
        match frame.flag {
            None => {}
            Some(Flag::Fin) => {
                self.ended = true;
                self.owe(Flag::FinAck);
            }
            Some(Flag::FinAck) if self.writing == Writing::Finished => self.writing = Writing::Acknowledged,
            Some(Flag::FinAck) => {}
            Some(Flag::StopSending) if self.writing == Writing::Open => {
                self.writing = Writing::Refused;
                // The remote may be waiting for the end of our half.
                self.owe(Flag::Fin);
            }
            Some(Flag::StopSending) => {}
            Some(Flag::Reset) => {
                self.discard();
                self.broken = Some(StreamError::Reset);
            }
        }
    }

    /// Moves bytes to the reader: `Ok(None)` if there are none yet, `Ok(Some(0))` at the end.
    pub(crate) fn read(&mut self, target: &mut [u8]) -> Result<Option<usize>, StreamError> {
        let mut count = 0;
        while count < target.len() {
            let Some(chunk) = self.readable.front_mut() else { break };
            let step = chunk.len().min(target.len() - count);
            chunk.copy_to_slice(&mut target[count..count + step]);
            count += step;
            if chunk.is_empty() {
                self.readable.pop_front();
            }
        }
        self.readable_bytes -= count;
        if count > 0 || target.is_empty() {
            return Ok(Some(count));
        }
        match self.broken {
            _ if self.ended => Ok(Some(0)),
            Some(reason) => Err(reason),
            None => Ok(None),
        }
    }

    /// Our half is complete. Finishing twice is no error.
    pub(crate) fn finish(&mut self) -> Result<(), StreamError> {
        match self.writable() {
            Ok(()) => {
                self.writing = Writing::Finished;
                self.owe(Flag::Fin);
                Ok(())
            }
            Err(StreamError::Finished | StreamError::Refused) => Ok(()),
            Err(reason) => Err(reason),
        }
    }

    /// Our user is gone: what was finished stays so, the rest is abandoned by name.
    pub(crate) fn abandon(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if self.writing == Writing::Open {
            return self.break_off(StreamError::Reset);
        }
        if !self.ended && !self.stopped {
            self.stopped = true;
            self.discard();
            self.owe(Flag::StopSending);
        }
    }

    /// The next flag to send.
    pub(crate) fn poll_flag(&mut self) -> Option<Flag> {
        self.flags.pop_front()
    }

    fn break_off(&mut self, reason: StreamError) {
        self.discard();
        self.broken = Some(reason);
        self.flags.clear();
        self.owe(Flag::Reset);
    }

    fn discard(&mut self) {
        self.readable.clear();
        self.readable_bytes = 0;
    }

    fn owe(&mut self, flag: Flag) {
        if !self.flags.contains(&flag) {
            self.flags.push_back(flag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::framing::{encode_flag, encode_payload};
    use super::*;

    fn payload(bytes: &[u8]) -> Bytes {
        let mut wire = Vec::new();
        encode_payload(bytes, &mut wire);
        wire.into()
    }

    fn flag(flag: Flag) -> Bytes {
        Bytes::copy_from_slice(&encode_flag(flag))
    }

    fn read_all(stream: &mut Lifecycle) -> (Vec<u8>, Result<Option<usize>, StreamError>) {
        let mut all = Vec::new();
        let mut buffer = [0; 3];
        loop {
            match stream.read(&mut buffer) {
                Ok(Some(count)) if count > 0 => all.extend_from_slice(&buffer[..count]),
                end => return (all, end),
            }
        }
    }

    #[test]
    fn bytes_before_the_end_are_read_and_the_end_acknowledged() {
        let mut stream = Lifecycle::default();
        stream.handle_message(payload(b"hello"));
        stream.handle_message(flag(Flag::Fin));
        stream.handle_channel_closed();
        assert_eq!(stream.poll_flag(), Some(Flag::FinAck));
        assert_eq!(read_all(&mut stream), (b"hello".to_vec(), Ok(Some(0))));
    }

    #[test]
    fn halves_close_apart() {
        let mut stream = Lifecycle::default();
        stream.finish().unwrap();
        assert_eq!(stream.poll_flag(), Some(Flag::Fin));
        assert_eq!(stream.writable(), Err(StreamError::Finished));
        stream.handle_message(payload(b"still here"));
        assert_eq!(read_all(&mut stream), (b"still here".to_vec(), Ok(None)));
        stream.handle_message(flag(Flag::FinAck));
        assert!(!stream.is_over());
        stream.handle_message(flag(Flag::Fin));
        assert!(stream.is_over());
    }

    #[test]
    fn a_lost_channel_is_an_error_after_what_had_arrived() {
        let mut stream = Lifecycle::default();
        stream.handle_message(payload(b"part"));
        stream.handle_channel_closed();
        assert_eq!(read_all(&mut stream), (b"part".to_vec(), Err(StreamError::ChannelClosed)));
    }

    #[test]
    fn a_reset_ends_both_halves_at_once() {
        let mut stream = Lifecycle::default();
        stream.handle_message(payload(b"part"));
        stream.handle_message(flag(Flag::Reset));
        assert_eq!(read_all(&mut stream), (vec![], Err(StreamError::Reset)));
        assert_eq!(stream.writable(), Err(StreamError::Reset));
        assert!(stream.is_over());
    }

    #[test]
    fn a_remote_that_stops_reading_is_told_that_we_ended() {
        let mut stream = Lifecycle::default();
        stream.handle_message(flag(Flag::StopSending));
        assert_eq!(stream.writable(), Err(StreamError::Refused));
        assert_eq!(stream.poll_flag(), Some(Flag::Fin));
    }

    #[test]
    fn abandoning_resets_what_was_open_and_stops_what_was_not_ended() {
        let mut open = Lifecycle::default();
        open.abandon();
        assert_eq!(open.poll_flag(), Some(Flag::Reset));

        let mut finished = Lifecycle::default();
        finished.finish().unwrap();
        finished.abandon();
        assert_eq!(finished.poll_flag(), Some(Flag::Fin));
        assert_eq!(finished.poll_flag(), Some(Flag::StopSending));
        assert!(!finished.is_over());
        finished.handle_message(flag(Flag::FinAck));
        assert!(finished.is_over());
    }

    #[test]
    fn a_reader_that_never_reads_is_overrun_by_name() {
        let mut stream = Lifecycle::default();
        let chunk = payload(&vec![0; 60_000]);
        while stream.writable().is_ok() {
            stream.handle_message(chunk.clone());
        }
        assert_eq!(stream.writable(), Err(StreamError::Overrun));
        assert_eq!(stream.poll_flag(), Some(Flag::Reset));
        assert_eq!(stream.readable_bytes, 0);
    }
}
