//! Where the frames of a sealed stream lie.

use core::ops::Range;

use serde::{Deserialize, Serialize};

/// A sealed frame with its tag, or with what stands there. As long as an erasure block, so that a full frame lies on one shard and reading
/// it asks one holder.
pub const FRAME_BYTES: u64 = 64 * 1024;
/// Poly1305's tag (RFC 8439, section 2.5), and that of AES-GCM (NIST SP 800-38D, section 5.2.1.2, the longest).
pub const TAG_BYTES: u64 = 16;
/// The longest stream: what S3 allows an object. Its frames are far below the counter's 2³².
pub const MAX_STREAM_BYTES: u64 = 5 << 40;

/// How an object's bytes are sealed. Recorded with each object, so that another way may come beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sealing {
    /// STREAM over XChaCha20-Poly1305.
    #[serde(rename = "xchacha20-poly1305")]
    XChaCha20Poly1305,
    /// STREAM over AES-256-GCM: some three times as fast where the processor has AES of its own.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// Not at all: public bytes, or a disk that is sealed itself. What stands where a tag would tells which stream and place a
    /// frame is of, so that equal objects are different bytes, and each can be deleted by itself; whether the bytes are right, the
    /// shards' roots tell.
    #[serde(rename = "none")]
    Plain,
}

/// The plain bytes of a full frame.
pub(super) const FRAME_PLAIN_BYTES: u64 = FRAME_BYTES - TAG_BYTES;

/// The geometry of a stream: a length that was checked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamShape {
    sealing: Sealing,
    plain_bytes: u64,
}

impl StreamShape {
    /// The shape of `plain_bytes` before sealing, if that is at most [`MAX_STREAM_BYTES`].
    pub const fn new(sealing: Sealing, plain_bytes: u64) -> Option<Self> {
        if plain_bytes <= MAX_STREAM_BYTES { Some(Self { sealing, plain_bytes }) } else { None }
    }

    /// The shape of what is `sealed_bytes` long after sealing. Nothing where no stream has that length: every
    /// frame has its tag, and only the sole frame of the empty stream has nothing else.
    pub fn from_sealed(sealing: Sealing, sealed_bytes: u64) -> Option<Self> {
        let frames = sealed_bytes.div_ceil(FRAME_BYTES).max(1);
        let shape = Self::new(sealing, sealed_bytes.checked_sub(frames.checked_mul(TAG_BYTES)?)?)?;
        (shape.sealed_bytes() == sealed_bytes).then_some(shape)
    }

    /// How it is sealed.
    pub const fn sealing(self) -> Sealing {
        self.sealing
    }

    /// Length before sealing.
    pub const fn plain_bytes(self) -> u64 {
        self.plain_bytes
    }

    /// Length after sealing.
    pub fn sealed_bytes(self) -> u64 {
        self.plain_bytes + u64::from(self.frames()) * TAG_BYTES
    }

    /// Number of frames; the empty stream has one.
    pub fn frames(self) -> u32 {
        let frames = self.plain_bytes.div_ceil(FRAME_PLAIN_BYTES).max(1);
        u32::try_from(frames).expect("MAX_STREAM_BYTES are fewer than 2^27 frames")
    }

    /// Where frame `index` lies in the plain bytes, or nothing beyond the end.
    pub fn frame_plain(self, index: u32) -> Option<Range<u64>> {
        self.frame(index, FRAME_PLAIN_BYTES, self.plain_bytes)
    }

    /// Where frame `index` lies in the sealed bytes, or nothing beyond the end.
    pub fn frame_sealed(self, index: u32) -> Option<Range<u64>> {
        self.frame(index, FRAME_BYTES, self.sealed_bytes())
    }

    /// The frames that hold the plain bytes `range`; empty for what is empty or beyond the end.
    pub fn frames_touched(self, range: &Range<u64>) -> Range<u32> {
        let end = range.end.min(self.plain_bytes);
        if range.start >= end {
            return 0..0;
        }
        let frame = |byte: u64| u32::try_from(byte / FRAME_PLAIN_BYTES).expect("below the number of frames");
        frame(range.start)..frame(end - 1) + 1
    }

    fn frame(self, index: u32, step: u64, end: u64) -> Option<Range<u64>> {
        let start = u64::from(index) * step;
        (index < self.frames()).then(|| start..(start + step).min(end))
    }
}
