//! Keys that a client keeps to itself and sends along: without it not even this node can open the object's bytes.

use shared::storage::seal::ObjectKey;
use zeroize::Zeroizing;

/// A client's own key for an object.
pub struct CustomerKey(Zeroizing<[u8; 32]>);

impl CustomerKey {
    /// Of a client's 32 bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key that the object's bytes are sealed with, of the one that its record holds.
    pub(super) fn mixed(&self, recorded: &ObjectKey) -> ObjectKey {
        ObjectKey::from_bytes(self.derive(b"blackhole/storage/customer/key/1", &recorded.to_bytes()))
    }

    /// What can be kept to know the key again by. Says nothing of the key itself.
    #[must_use]
    pub fn proof(&self, salt: &[u8; 16]) -> [u8; 32] {
        self.derive(b"blackhole/storage/customer/proof/1", salt)
    }

    fn derive(&self, purpose: &[u8], of: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose).update(&[0]).update(of);
        *hasher.finalize().as_bytes()
    }
}
