//! Sealing a stream as it goes by, and opening any frame of it.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305};

use super::{
    MAX_STREAM_BYTES, Sealing, StreamKey, StreamShape, TAG_BYTES, keys::derive, shape::FRAME_PLAIN_BYTES,
};

/// [`TAG_BYTES`], as slices are measured.
const TAG_LENGTH: usize = 16;
const _: () = assert!(TAG_LENGTH as u64 == TAG_BYTES);

/// What turns a frame's bytes into other bytes.
enum Cipher {
    XChaCha20Poly1305(XChaCha20Poly1305),
    /// Its key schedule is a kilobyte.
    Aes256Gcm(Box<Aes256Gcm>),
    /// Leaves them as they are, and says of which stream and place they are.
    Plain(StreamKey),
}

impl Cipher {
    fn new(sealing: Sealing, key: &StreamKey) -> Self {
        match sealing {
            Sealing::XChaCha20Poly1305 => Self::XChaCha20Poly1305(XChaCha20Poly1305::new((&key.0).into())),
            Sealing::Aes256Gcm => Self::Aes256Gcm(Box::new(Aes256Gcm::new((&key.0).into()))),
            Sealing::Plain => Self::Plain(key.clone()),
        }
    }

    fn seal(&self, index: u32, last: bool, bytes: &mut [u8]) -> Tag {
        let tag = match self {
            Self::XChaCha20Poly1305(cipher) => {
                cipher.encrypt_inout_detached(&nonce::<24>(index, last).into(), b"", bytes.into())
            }
            Self::Aes256Gcm(cipher) => {
                cipher.encrypt_inout_detached(&nonce::<12>(index, last).into(), b"", bytes.into())
            }
            Self::Plain(key) => return place(key, index, last),
        };
        tag.expect("a frame is far below either cipher's 64 GiB")
    }

    fn open(&self, index: u32, last: bool, bytes: &mut [u8], tag: &Tag) -> bool {
        let opened = match self {
            Self::XChaCha20Poly1305(cipher) => {
                cipher.decrypt_inout_detached(&nonce::<24>(index, last).into(), b"", bytes.into(), tag)
            }
            Self::Aes256Gcm(cipher) => {
                cipher.decrypt_inout_detached(&nonce::<12>(index, last).into(), b"", bytes.into(), tag)
            }
            Self::Plain(key) => return place(key, index, last) == *tag,
        };
        opened.is_ok()
    }
}

/// The nonce of frame `index`; see the module's picture.
fn nonce<const BYTES: usize>(index: u32, last: bool) -> [u8; BYTES] {
    let mut nonce = [0; BYTES];
    nonce[BYTES - 5..BYTES - 1].copy_from_slice(&index.to_be_bytes());
    nonce[BYTES - 1] = u8::from(last);
    nonce
}

/// What stands behind a frame that is not sealed.
fn place(key: &StreamKey, index: u32, last: bool) -> Tag {
    let derived = derive(&key.0, "place of a frame", &nonce::<24>(index, last));
    let tag: &[u8; TAG_LENGTH] = derived.first_chunk().expect("32 bytes are more than 16");
    (*tag).into()
}

/// Seals a stream from front to back. Holds one frame of plain bytes.
pub struct Sealer {
    sealing: Sealing,
    cipher: Cipher,
    /// The frame under way; a full one waits here until it is known not to be the last.
    current: Vec<u8>,
    next: u32,
    plain_bytes: u64,
}

/// The stream grew over [`MAX_STREAM_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed stream may have at most {MAX_STREAM_BYTES} bytes")]
pub struct StreamTooLong;

impl Sealer {
    /// Begins the one stream that `key` may ever seal.
    pub fn new(sealing: Sealing, key: &StreamKey) -> Self {
        let cipher = Cipher::new(sealing, key);
        Self { sealing, cipher, current: Vec::new(), next: 0, plain_bytes: 0 }
    }

    /// Takes the next plain bytes and appends the frames that they complete to `out`.
    ///
    /// # Errors
    /// [`StreamTooLong`], after which the sealer is of no use.
    pub fn update(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), StreamTooLong> {
        self.plain_bytes = self.plain_bytes.saturating_add(plain.len() as u64);
        if self.plain_bytes > MAX_STREAM_BYTES {
            return Err(StreamTooLong);
        }
        let full = usize::try_from(FRAME_PLAIN_BYTES).expect("64 KiB fit any usize");
        while !plain.is_empty() {
            if self.current.len() == full {
                self.emit(false, out);
            }
            let take = plain.len().min(full - self.current.len());
            self.current.extend_from_slice(&plain[..take]);
            plain = &plain[take..];
        }
        Ok(())
    }

    /// Appends the last frame to `out` and says how long the stream became.
    pub fn finish(mut self, out: &mut Vec<u8>) -> StreamShape {
        self.emit(true, out);
        StreamShape::new(self.sealing, self.plain_bytes).expect("update refused what is longer")
    }

    fn emit(&mut self, last: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.append(&mut self.current);
        let tag = self.cipher.seal(self.next, last, &mut out[start..]);
        out.extend_from_slice(&tag);
        self.next += 1;
    }
}

/// Opens frames of a stream in any order.
pub struct Opener {
    cipher: Cipher,
    shape: StreamShape,
}

/// Why a frame does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The stream has no such frame.
    #[error("the stream has no frame {index}")]
    Absent {
        /// The number asked about.
        index: u32,
    },
    /// The length is not what the stream's says.
    #[error("frame {index} has {found} bytes, where {expected} belong")]
    Length {
        /// The frame.
        index: u32,
        /// What came.
        found: u64,
        /// What belongs there.
        expected: u64,
    },
    /// Changed, moved, cut off after, of another stream, or another key's.
    #[error("frame {index} is not what was sealed there")]
    Forged {
        /// The frame.
        index: u32,
    },
}

impl Opener {
    /// For the stream of this shape. A shape that lies is found out at the last frame, for that was sealed as such.
    pub fn new(key: &StreamKey, shape: StreamShape) -> Self {
        Self { cipher: Cipher::new(shape.sealing(), key), shape }
    }

    /// Opens frame `index` and appends its plain bytes to `out`, which stays as it was on an error.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, index: u32, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let start = out.len();
        out.extend_from_slice(sealed);
        self.open_at(index, start, out)
    }

    /// Opens frame `index`, whose sealed bytes are all of `out` from `start` on, in its place. On an error nothing of it
    /// is left there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_at(&self, index: u32, start: usize, out: &mut Vec<u8>) -> Result<(), OpenError> {
        let opened = self.open_in(index, &mut out[start..]);
        out.truncate(opened.as_ref().map_or(start, |plain_bytes| start + plain_bytes));
        opened.map(drop)
    }

    /// Says how many bytes are plain now.
    fn open_in(&self, index: u32, sealed: &mut [u8]) -> Result<usize, OpenError> {
        let range = self.shape.frame_sealed(index).ok_or(OpenError::Absent { index })?;
        let (found, expected) = (sealed.len() as u64, range.end - range.start);
        if found != expected {
            return Err(OpenError::Length { index, found, expected });
        }
        let (bytes, tag) = sealed.split_last_chunk_mut::<TAG_LENGTH>().ok_or(OpenError::Forged { index })?;
        let last = index + 1 == self.shape.frames();
        if self.cipher.open(index, last, bytes, &(*tag).into()) {
            Ok(bytes.len())
        } else {
            Err(OpenError::Forged { index })
        }
    }
}
