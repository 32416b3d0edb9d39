//! A holder's signed promise to keep a shard: what "stored" rests on.

use prost::Message as _;

use crate::{
    base::{BlobRoot, UnixSeconds},
    identity::{Context, Keypair, PublicKey},
    storage::erasure::MAX_SEGMENT_BYTES,
    wire::storage as wire,
};

/// Three keys, a signature and numbers.
pub const MAX_LEASE_BYTES: usize = 512;
/// Ninety days: who is still there then asks again, and who vanished lets go by itself.
pub const MAX_LEASE_SECONDS: u64 = 90 * 86_400;

/// The one layout there is so far.
const VERSION: u32 = 1;

/// A promise whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub root: BlobRoot,
    /// Its length.
    pub bytes: u64,
    /// Who asked.
    pub owner: PublicKey,
    /// Who promised.
    pub holder: PublicKey,
    /// When.
    pub issued: UnixSeconds,
    /// Until when.
    pub until: UnixSeconds,
}

/// Why bytes are not the promise that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LeaseError {
    /// Not a lease.
    #[error("what came is no lease")]
    Malformed,
    /// The signature is not its holder's.
    #[error("the lease is not signed by the holder it names")]
    Signature,
    /// Of another holder or shard, for another owner, or shorter than was asked for.
    #[error("the lease is not the one that was asked for")]
    Other,
}

impl Lease {
    /// Signs the promise. `self.holder` is taken from `holder`. Returns the encoded [`wire::SignedLease`].
    pub fn sign(&self, holder: &Keypair) -> Vec<u8> {
        let lease = wire::Lease {
            version: VERSION,
            root: self.root.0.to_vec(),
            bytes: self.bytes,
            owner: self.owner.to_bytes().to_vec(),
            issued_unix: self.issued.0,
            until_unix: self.until.0,
        }
        .encode_to_vec();
        let signature = holder.sign(Context::Lease, &lease).to_vec();
        wire::SignedLease { lease, holder: holder.public().to_bytes().to_vec(), signature }.encode_to_vec()
    }

    /// Reads and verifies a promise.
    ///
    /// # Errors
    /// [`LeaseError::Malformed`] or [`LeaseError::Signature`].
    pub fn open(bytes: &[u8]) -> Result<Self, LeaseError> {
        if bytes.len() > MAX_LEASE_BYTES {
            return Err(LeaseError::Malformed);
        }
        let signed = wire::SignedLease::decode(bytes).map_err(|_| LeaseError::Malformed)?;
        let lease = wire::Lease::decode(signed.lease.as_slice()).map_err(|_| LeaseError::Malformed)?;
        let key = |bytes: &[u8]| PublicKey::from_bytes(bytes).map_err(|_| LeaseError::Malformed);
        let (holder, owner) = (key(&signed.holder)?, key(&lease.owner)?);
        let root = BlobRoot::try_from(lease.root.as_slice()).map_err(|_| LeaseError::Malformed)?;
        let (issued, until) = (UnixSeconds(lease.issued_unix), UnixSeconds(lease.until_unix));
        let lawful = lease.version == VERSION
            && (1..=MAX_SEGMENT_BYTES).contains(&lease.bytes)
            && (1..=MAX_LEASE_SECONDS).contains(&issued.until(until));
        if !lawful {
            return Err(LeaseError::Malformed);
        }
        if !holder.verify(Context::Lease, &signed.lease, &signed.signature) {
            return Err(LeaseError::Signature);
        }
        Ok(Self { root, bytes: lease.bytes, owner, holder, issued, until })
    }

    /// Reads what `holder` answered to a wish to have this shard kept for `owner` until `until`.
    ///
    /// # Errors
    /// [`LeaseError`].
    pub fn answers(
        bytes: &[u8],
        holder: &PublicKey,
        (root, shard_bytes): (BlobRoot, u64),
        owner: &PublicKey,
        until: UnixSeconds,
    ) -> Result<Self, LeaseError> {
        let lease = Self::open(bytes)?;
        let asked = lease.holder == *holder
            && lease.root == root
            && lease.bytes == shard_bytes
            && lease.owner == *owner
            && lease.until >= until;
        if asked { Ok(lease) } else { Err(LeaseError::Other) }
    }
}
