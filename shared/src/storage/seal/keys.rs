//! Keys: which there are, and how one follows from another.
//!
//! All derivation is HMAC-SHA-256 (RFC 2104) over a label of the purpose, a zero byte and the data, so that no key
//! serves two purposes. Fresh bytes are drawn by the shell.

use core::fmt;

use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroize as _;

use crate::base::BlobRoot;

/// The key for `purpose` and `data` that follows from `key`.
pub(super) fn derive(key: &[u8; 32], purpose: &str, data: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(b"blackhole/storage/");
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(data);
    mac.finalize().into_bytes().into()
}

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(pub(super) [u8; 32]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }
    };
}
pub(super) use secret_key;

secret_key! {
    /// The key of one version of one object, never used again for other contents. Travels only inside a sealed record.
    ObjectKey
}
secret_key! {
    /// The key of one sealed stream: an object, or one part of a multipart upload.
    StreamKey
}
secret_key! {
    /// The key of the secret part of one object's record.
    RecordKey
}

impl ObjectKey {
    /// The key of 32 secret bytes, which the caller drew from a secure source or read from a record.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 secret bytes, for the record.
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The key by which equal contents become equal bytes among all who share `secret`, so that they are stored
    /// once. Whoever has `secret` and a guess can test whether the guess is stored (Wilcox-O'Hearn and Warner,
    /// *Tahoe*, 2008, section 5.3): opt-in, with a secret that goes no further than those who may deduplicate.
    pub fn convergent(secret: &[u8; 32], contents: &BlobRoot) -> Self {
        Self(derive(secret, "convergent object key", &contents.0))
    }

    /// The salt of part `index` of a convergent object, which follows from the part's own contents: two uploads that
    /// cut equal contents differently must not seal different bytes under one key.
    pub fn convergent_salt(&self, index: u32, part: &BlobRoot) -> [u8; 16] {
        let data = [&index.to_be_bytes()[..], &part.0].concat();
        *derive(&self.0, "convergent salt", &data).first_chunk().expect("16 of 32 bytes")
    }

    /// The key of the stream with this `salt`. Two streams of one object must never share a salt: the caller draws a
    /// new one each time it seals, or takes [`ObjectKey::convergent_salt`].
    pub fn stream(&self, salt: &[u8; 16]) -> StreamKey {
        StreamKey(derive(&self.0, "stream key", salt))
    }
}

const NONCE_BYTES: usize = 24;

/// What a box is longer than its contents: the nonce in front, the tag behind.
pub const BOX_OVERHEAD_BYTES: usize = NONCE_BYTES + 16;

/// Why a box does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes are not what this key sealed for this place")]
pub struct BoxError;

impl RecordKey {
    /// Seals `plain`, bound to `place`: `nonce ‖ ciphertext ‖ tag`. `nonce` is 24 fresh random bytes.
    pub fn seal(&self, nonce: &[u8; 24], place: &[u8], plain: &[u8]) -> Vec<u8> {
        seal_box(&self.0, nonce, place, plain)
    }

    /// Opens what [`RecordKey::seal`] made.
    ///
    /// # Errors
    /// [`BoxError`].
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
        open_box(&self.0, place, sealed)
    }
}

pub(super) fn seal_box(key: &[u8; 32], nonce: &[u8; 24], place: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = [&nonce[..], plain].concat();
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), place, (&mut sealed[NONCE_BYTES..]).into())
        .expect("what is sealed in a box is far below the cipher's 256 GiB");
    sealed.extend_from_slice(&tag);
    sealed
}

pub(super) fn open_box(key: &[u8; 32], place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(BoxError)?;
    let (ciphertext, tag) = rest.split_last_chunk::<16>().ok_or(BoxError)?;
    let mut plain = ciphertext.to_vec();
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), place, plain.as_mut_slice().into(), tag.into())
        .map_err(|_| BoxError)?;
    Ok(plain)
}
