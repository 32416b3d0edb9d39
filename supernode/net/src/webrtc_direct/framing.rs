//! The frame of WebRTC Direct: a varint length, then `Message { flag, message }` in protobuf.
//!
//! Frames are cut out of the byte stream that a channel's messages form together, never out of a
//! single message: an implementation may split or merge them.

use bytes::{Buf, Bytes, BytesMut};

/// Longest SCTP message we send to strangers: what the specification asks of those who do not know the remote.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Room a frame needs around its payload: two length varints of three bytes, two tags, a flag.
pub(super) const FRAME_OVERHEAD_BYTES: usize = 3 + 3 + 2 + 1;

/// Longest frame we accept: twice the 64 KiB that peers of ours negotiate.
pub(super) const FRAME_BYTES_MAX: usize = 128 * 1024;

const TAG_FLAG: u8 = 0x08;
const TAG_MESSAGE: u8 = 0x12;

/// What a frame says about its stream beside carrying bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// The sender writes no more.
    Fin = 0,
    /// The sender reads no more.
    StopSending = 1,
    /// The sender gave up; what it sent may be thrown away.
    Reset = 2,
    /// The sender has read our `Fin`.
    FinAck = 3,
}

/// A frame taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub flag: Option<Flag>,
    pub payload: Bytes,
}

/// How a remote broke the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame longer than {FRAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("a length that is no varint")]
    BadLength,
    #[error("a frame that is no protobuf message")]
    BadMessage,
}

/// Writes a frame to the end of `out`; its payload was cut to what the remote takes.
pub(super) fn encode(flag: Option<Flag>, payload: &[u8], out: &mut Vec<u8>) {
    let mut length_buffer = unsigned_varint::encode::usize_buffer();
    let payload_length = unsigned_varint::encode::usize(payload.len(), &mut length_buffer);
    let flag_bytes = if flag.is_some() { 2 } else { 0 };
    let payload_bytes = if payload.is_empty() { 0 } else { 1 + payload_length.len() + payload.len() };

    let mut frame_buffer = unsigned_varint::encode::usize_buffer();
    out.extend_from_slice(unsigned_varint::encode::usize(flag_bytes + payload_bytes, &mut frame_buffer));
    if let Some(flag) = flag {
        out.extend_from_slice(&[TAG_FLAG, flag as u8]);
    }
    if !payload.is_empty() {
        out.push(TAG_MESSAGE);
        out.extend_from_slice(payload_length);
        out.extend_from_slice(payload);
    }
}

/// Cuts frames out of a byte stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Bytes of frames not yet handed out; at most a frame and the message that completed it.
    pending: BytesMut,
}

impl Decoder {
    /// Takes the bytes of one message.
    #[cfg(test)]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Takes the bytes of one message from where they are: `fill` writes them into the space.
    pub(super) fn push_with(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        let before = self.pending.len();
        self.pending.resize(before + bytes, 0);
        fill(&mut self.pending[before..]);
    }

    /// The next whole frame.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let (length, rest) = match unsigned_varint::decode::usize(&self.pending) {
            Ok((length, rest)) => (length, rest.len()),
            Err(unsigned_varint::decode::Error::Insufficient) => return Ok(None),
            Err(_) => return Err(FrameError::BadLength),
        };
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        if rest < length {
            return Ok(None);
        }
        self.pending.advance(self.pending.len() - rest);
        let body = self.pending.split_to(length).freeze();
        if self.pending.is_empty() {
            // A quiet stream holds no buffer.
            self.pending = BytesMut::new();
        }
        decode_message(body).map(Some)
    }
}

fn decode_message(mut body: Bytes) -> Result<Frame, FrameError> {
    let mut frame = Frame::default();
    while !body.is_empty() {
        let tag = take_varint(&mut body)?;
        match (tag, tag & 0x07) {
            (tag, _) if tag == u64::from(TAG_FLAG) => {
                // Later versions may add flags; those we do not know say nothing to us.
                frame.flag = match take_varint(&mut body)? {
                    0 => Some(Flag::Fin),
                    1 => Some(Flag::StopSending),
                    2 => Some(Flag::Reset),
                    3 => Some(Flag::FinAck),
                    _ => frame.flag,
                };
            }
            (tag, _) if tag == u64::from(TAG_MESSAGE) => frame.payload = take_bytes(&mut body)?,
            (_, 0) => drop(take_varint(&mut body)?),
            (_, 1) => skip(&mut body, 8)?,
            (_, 2) => drop(take_bytes(&mut body)?),
            (_, 5) => skip(&mut body, 4)?,
            _ => return Err(FrameError::BadMessage),
        }
    }
    Ok(frame)
}

fn take_varint(body: &mut Bytes) -> Result<u64, FrameError> {
    let (value, rest) = unsigned_varint::decode::u64(body).map_err(|_| FrameError::BadMessage)?;
    let rest = rest.len();
    body.advance(body.len() - rest);
    Ok(value)
}

fn take_bytes(body: &mut Bytes) -> Result<Bytes, FrameError> {
    let length = usize::try_from(take_varint(body)?).map_err(|_| FrameError::BadMessage)?;
    if length > body.len() {
        return Err(FrameError::BadMessage);
    }
    Ok(body.split_to(length))
}

fn skip(body: &mut Bytes, bytes: usize) -> Result<(), FrameError> {
    if bytes > body.len() {
        return Err(FrameError::BadMessage);
    }
    body.advance(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(flag: Option<Flag>, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(flag, payload, &mut out);
        out
    }

    fn check_refused(bytes: &[u8], expect: FrameError) {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        assert_eq!(decoder.next_frame(), Err(expect));
    }

    #[test]
    fn golden_bytes_match_the_specification() {
        assert_eq!(encoded(None, b"hi"), [4, 0x12, 2, b'h', b'i']);
        assert_eq!(encoded(Some(Flag::Fin), b""), [2, 0x08, 0]);
        assert_eq!(encoded(Some(Flag::FinAck), b"x"), [5, 0x08, 3, 0x12, 1, b'x']);
        assert_eq!(encoded(None, b""), [0]);
    }

    #[test]
    fn largest_frame_fits_a_strangers_message() {
        assert!(
            encoded(Some(Flag::Fin), &[7; MESSAGE_BYTES_MAX - FRAME_OVERHEAD_BYTES]).len()
                <= MESSAGE_BYTES_MAX
        );
    }

    #[test]
    fn broken_frames_are_named() {
        check_refused(&[0xff; 12], FrameError::BadLength);
        check_refused(&encoded_length(FRAME_BYTES_MAX + 1), FrameError::TooLong);
        check_refused(&[2, 0x12, 9], FrameError::BadMessage);
        check_refused(&[1, 0x0f], FrameError::BadMessage);
    }

    fn encoded_length(length: usize) -> Vec<u8> {
        unsigned_varint::encode::usize(length, &mut unsigned_varint::encode::usize_buffer()).to_vec()
    }

    #[test]
    fn unknown_fields_and_flags_are_passed_over() {
        let mut decoder = Decoder::default();
        decoder.push(&[9, 0x08, 77, 0x1a, 1, 0, 0x12, 2, b'o', b'k']);
        assert_eq!(decoder.next_frame(), Ok(Some(Frame { flag: None, payload: Bytes::from_static(b"ok") })));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
            cut in 1usize..40,
        ) {
            let mut stream = Vec::new();
            for payload in &frames {
                encode(None, payload, &mut stream);
            }
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.payload.to_vec());
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
