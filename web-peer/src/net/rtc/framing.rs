//! The frames of a libp2p WebRTC stream: an unsigned varint length, then a protobuf message.
//!
//! ```text
//! frame   = varint(length) message
//! message = [ 0x08 flag ] [ 0x12 varint(length) payload ]
//! ```
//!
//! Data channel messages carry no meaning: one may hold half a frame, or three. The decoder
//! reassembles by bytes alone. Payloads are slices of the bytes that arrived, not copies, except
//! for a frame that was torn across messages.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use links::webrtc::LARGE_FRAME_BYTES;

/// What the specification allows one frame to be, its own length included.
pub(crate) const FRAME_BYTES: usize = 16 * 1024;
/// Length prefix, flag and payload header at their largest.
pub(crate) const FRAME_OVERHEAD_BYTES: usize = 12;
/// No honest peer sends a larger frame, whatever it agreed to.
const MESSAGE_BYTES_MAX: usize = LARGE_FRAME_BYTES;
/// A length of up to two megabytes takes three bytes.
const LENGTH_PREFIX_BYTES_MAX: usize = 3;

/// What a frame says besides carrying bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// No more bytes will come.
    Fin = 0,
    /// No more bytes will be read.
    StopSending = 1,
    /// The stream is abandoned.
    Reset = 2,
    /// The `Fin` has arrived: closing the channel loses nothing.
    FinAck = 3,
}

impl Flag {
    fn from_wire(value: u64) -> Result<Self, FrameError> {
        match value {
            0 => Ok(Self::Fin),
            1 => Ok(Self::StopSending),
            2 => Ok(Self::Reset),
            3 => Ok(Self::FinAck),
            _ => Err(FrameError::UnknownFlag),
        }
    }
}

/// One frame. An empty one is legal and means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) flag: Option<Flag>,
    pub(crate) payload: Bytes,
}

/// Why bytes of the remote are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is longer than any permitted length.
    #[error("frame length is malformed")]
    Length,
    /// The frame is larger than anybody may send.
    #[error("frame is too large")]
    TooLarge,
    /// The protobuf message ends early or has an impossible tag.
    #[error("frame is malformed")]
    Malformed,
    /// A flag of which we know no meaning could change the stream's state behind our back.
    #[error("frame has an unknown flag")]
    UnknownFlag,
}

/// Turns the bytes of arriving messages into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The head of a frame whose rest has not arrived; at most one frame.
    torn: BytesMut,
}

impl Decoder {
    /// Decodes every frame that `bytes` completes, in order.
    pub(crate) fn handle_bytes(
        &mut self,
        mut bytes: Bytes,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), FrameError> {
        if !self.torn.is_empty() {
            self.torn.extend_from_slice(&bytes);
            bytes = self.torn.split().freeze();
        }
        while let Some(message) = next_message(&mut bytes)? {
            frames.push_back(parse_message(message)?);
        }
        // A copy, so that a torn tail does not keep the whole message alive.
        self.torn.extend_from_slice(&bytes);
        Ok(())
    }
}

/// Splits one complete message off, or returns `None` if more bytes are needed.
fn next_message(bytes: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
    let Some((length, prefix_bytes)) = peek_varint(bytes, LENGTH_PREFIX_BYTES_MAX)? else { return Ok(None) };
    let length = usize::try_from(length).map_err(|_| FrameError::TooLarge)?;
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    if bytes.len() < prefix_bytes + length {
        return Ok(None);
    }
    bytes.advance(prefix_bytes);
    Ok(Some(bytes.split_to(length)))
}

fn parse_message(mut message: Bytes) -> Result<Frame, FrameError> {
    const FLAG: u64 = 1 << 3;
    const PAYLOAD: u64 = 2 << 3 | 2;
    let mut frame = Frame::default();
    while message.has_remaining() {
        match take_varint(&mut message)? {
            FLAG => frame.flag = Some(Flag::from_wire(take_varint(&mut message)?)?),
            PAYLOAD => frame.payload = take_bytes(&mut message)?,
            tag => skip_field(tag, &mut message)?,
        }
    }
    Ok(frame)
}

/// Later versions of the message may have fields of which we know nothing.
fn skip_field(tag: u64, message: &mut Bytes) -> Result<(), FrameError> {
    match tag & 7 {
        0 => take_varint(message).map(drop),
        1 => take_exactly(message, 8).map(drop),
        2 => take_bytes(message).map(drop),
        5 => take_exactly(message, 4).map(drop),
        _ => Err(FrameError::Malformed),
    }
}

fn take_bytes(message: &mut Bytes) -> Result<Bytes, FrameError> {
    let length = take_varint(message)?;
    take_exactly(message, usize::try_from(length).map_err(|_| FrameError::Malformed)?)
}

fn take_exactly(message: &mut Bytes, count: usize) -> Result<Bytes, FrameError> {
    if message.len() < count {
        return Err(FrameError::Malformed);
    }
    Ok(message.split_to(count))
}

fn take_varint(message: &mut Bytes) -> Result<u64, FrameError> {
    const VARINT_BYTES_MAX: usize = 10;
    let (value, length) = peek_varint(message, VARINT_BYTES_MAX)
        .map_err(|_| FrameError::Malformed)?
        .ok_or(FrameError::Malformed)?;
    message.advance(length);
    Ok(value)
}

/// Reads a varint without consuming it; `None` if it is not complete yet.
fn peek_varint(bytes: &[u8], bytes_max: usize) -> Result<Option<(u64, usize)>, FrameError> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(bytes_max).enumerate() {
        value |=
            u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= bytes_max { Err(FrameError::Length) } else { Ok(None) }
}

/// Appends a frame that carries `payload`.
pub(crate) fn encode_payload(payload: &[u8], out: &mut Vec<u8>) {
    const PAYLOAD_TAG: u8 = 2 << 3 | 2;
    let message_bytes = 1 + varint_bytes(payload.len()) + payload.len();
    push_varint(message_bytes, out);
    out.push(PAYLOAD_TAG);
    push_varint(payload.len(), out);
    out.extend_from_slice(payload);
}

/// The frame that carries nothing but `flag`.
pub(crate) fn encode_flag(flag: Flag) -> [u8; 3] {
    const FLAG_TAG: u8 = 1 << 3;
    [2, FLAG_TAG, flag as u8]
}

fn varint_bytes(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn push_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::default();
        let mut frames = VecDeque::new();
        for piece in pieces {
            decoder.handle_bytes(Bytes::copy_from_slice(piece), &mut frames)?;
        }
        Ok(frames.into())
    }

    fn data(payload: &[u8]) -> Frame {
        Frame { flag: None, payload: Bytes::copy_from_slice(payload) }
    }

    #[test]
    fn frames_survive_any_tearing() {
        let mut wire = Vec::new();
        let large = vec![7u8; 16_000];
        encode_payload(b"hello", &mut wire);
        encode_payload(&large, &mut wire);
        wire.extend_from_slice(&encode_flag(Flag::Fin));
        let expected =
            vec![data(b"hello"), data(&large), Frame { flag: Some(Flag::Fin), ..Frame::default() }];
        for step in [1, 2, 3, 7, 1_000, 16_384, wire.len()] {
            let pieces: Vec<&[u8]> = wire.chunks(step).collect();
            assert_eq!(decode(&pieces).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn a_full_frame_fits_the_specification() {
        let mut wire = Vec::new();
        encode_payload(&vec![0; FRAME_BYTES - FRAME_OVERHEAD_BYTES], &mut wire);
        assert!(wire.len() <= FRAME_BYTES);
    }

    #[test]
    fn the_wire_is_what_the_specification_says() {
        let mut wire = Vec::new();
        encode_payload(b"ab", &mut wire);
        assert_eq!(wire, [4, 0x12, 2, b'a', b'b']);
        assert_eq!(encode_flag(Flag::FinAck), [2, 0x08, 3]);
    }

    #[test]
    fn bad_bytes_have_names() {
        assert_eq!(decode(&[&[0xff, 0xff, 0xff, 0xff]]), Err(FrameError::Length));
        assert_eq!(decode(&[&[0xff, 0xff, 0x7f]]), Err(FrameError::TooLarge));
        assert_eq!(decode(&[&[3, 0x12, 9, 0]]), Err(FrameError::Malformed));
        assert_eq!(decode(&[&[2, 0x08, 9]]), Err(FrameError::UnknownFlag));
        assert_eq!(decode(&[&[1, 0x0f]]), Err(FrameError::Malformed));
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let frames = decode(&[&[7, 0x18, 5, 0x12, 1, b'x', 0x20, 1]]).unwrap();
        assert_eq!(frames, vec![data(b"x")]);
    }

    proptest::proptest! {
        #[test]
        fn untrusted_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&[&bytes]);
        }
    }
}
