//! Length-prefixed frames: an unsigned varint, then that many bytes.
//!
//! The reader is fed whatever the transport delivered and yields whole frames. It holds at most one
//! incomplete frame, and refuses a length over [`MAX_FRAME_BYTES`] before it stores a byte of it.

use unsigned_varint::{decode, encode};

/// The longest control message. Anything longer is bulk and travels as an effect, outside the core.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// A length prefix of [`MAX_FRAME_BYTES`] takes three bytes; more cannot be a lawful length.
const MAX_PREFIX_BYTES: usize = 3;

/// Why the bytes of a stream are not frames. The stream cannot be read on after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is not a minimal unsigned varint of at most three bytes.
    #[error("a frame began with something that is no length")]
    Prefix,
    /// The frame is longer than a control message may be.
    #[error("a frame of {bytes} bytes, where at most {MAX_FRAME_BYTES} are allowed")]
    Oversize {
        /// The announced length.
        bytes: usize,
    },
}

/// Appends `payload` as one frame.
///
/// # Panics
/// If `payload` is longer than [`MAX_FRAME_BYTES`]: our own messages are bounded where they are built.
pub fn write_frame(payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= MAX_FRAME_BYTES, "a control message of {} bytes", payload.len());
    let mut buffer = encode::usize_buffer();
    out.extend_from_slice(encode::usize(payload.len(), &mut buffer));
    out.extend_from_slice(payload);
}

/// The first frame of `bytes` and how many bytes it took with its prefix; nothing if it is not whole yet.
///
/// # Errors
/// [`FrameError`] if this cannot be a frame.
pub fn split_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, FrameError> {
    let prefix = &bytes[..bytes.len().min(MAX_PREFIX_BYTES)];
    let (length, rest) = match decode::usize(prefix) {
        Ok(found) => found,
        Err(decode::Error::Insufficient) if bytes.len() < MAX_PREFIX_BYTES => return Ok(None),
        Err(_) => return Err(FrameError::Prefix),
    };
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::Oversize { bytes: length });
    }
    let start = prefix.len() - rest.len();
    Ok(bytes.get(start..start + length).map(|frame| (frame, start + length)))
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Bytes received and not yet yielded.
    pending: Vec<u8>,
    /// How much of `pending` was yielded already; compacted when a frame is incomplete.
    read: usize,
}

impl FrameReader {
    /// Takes bytes as they came.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// How many received bytes are not yet part of a yielded frame.
    pub fn buffered_bytes(&self) -> usize {
        self.pending.len() - self.read
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// [`FrameError`] if what follows cannot be a frame; every later call says the same.
    pub fn poll_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        match split_frame(&self.pending[self.read..])? {
            Some((frame, whole)) => {
                let frame = frame.to_vec();
                self.read += whole;
                Ok(Some(frame))
            }
            None => {
                self.compact();
                Ok(None)
            }
        }
    }

    fn compact(&mut self) {
        self.pending.drain(..self.read);
        self.read = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            reader.handle_bytes(chunk);
            while let Some(frame) = reader.poll_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn an_oversize_frame_is_refused_by_its_prefix_alone() {
        let mut buffer = encode::usize_buffer();
        let prefix = encode::usize(MAX_FRAME_BYTES + 1, &mut buffer);
        assert_eq!(read_all(&[prefix]), Err(FrameError::Oversize { bytes: MAX_FRAME_BYTES + 1 }));
    }

    #[test]
    fn a_prefix_that_never_ends_is_refused() {
        assert_eq!(read_all(&[&[0x80, 0x80, 0x80]]), Err(FrameError::Prefix));
        assert_eq!(read_all(&[&[0x80, 0x00]]), Err(FrameError::Prefix));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8), cut in 1usize..50) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                write_frame(payload, &mut bytes);
            }
            let chunks: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(read_all(&chunks).unwrap(), payloads);
        }

        #[test]
        fn garbage_never_panics_and_never_grows(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = FrameReader::default();
            reader.handle_bytes(&bytes);
            while let Ok(Some(frame)) = reader.poll_frame() {
                prop_assert!(frame.len() <= MAX_FRAME_BYTES);
            }
            prop_assert!(reader.buffered_bytes() <= bytes.len());
        }
    }
}
