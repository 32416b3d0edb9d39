//! Sealing: what leaves an owner's machine tells nobody what it says, and cannot be changed unseen.
//!
//! An object's bytes are sealed in frames by STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: *Online Authenticated-
//! Encryption and its Nonce-Reuse Misuse-Resistance*, CRYPTO 2015, section 7) over XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03) or AES-256-GCM (NIST SP 800-38D):
//!
//! ```text
//! nonce of frame i = 19 zero bytes (7 of GCM) ‖ i as u32, big-endian ‖ 1 for the last frame, else 0
//! ```
//!
//! A frame that was moved, taken from another object, or made the last by cutting off what follows has another
//! nonce or another key, and does not open. Each frame opens by itself, so a range costs the frames it touches.
//! The prefix may be constant because a key seals one stream only; every stream has its own.
//!
//! Names are sealed segment by segment under a chain of keys, see [`PathKey`].
//!
//! Non-goals: hiding how long an object or a name is, or which two names of one folder are equal; standing up to
//! readers who hold the key and lie about who wrote something (the record's signature does that).

mod frames;
mod keys;
mod path;
mod shape;

pub use frames::{OpenError, Opener, Sealer, StreamTooLong};
pub use keys::{BOX_OVERHEAD_BYTES, BoxError, ObjectKey, RecordKey, StreamKey};
pub use path::{MAX_OBJECT_PATH_BYTES, NameError, ObjectPath, ObjectPathError, PathKey};
pub use shape::{FRAME_BYTES, MAX_STREAM_BYTES, Sealing, StreamShape, TAG_BYTES};

#[cfg(test)]
mod tests;
