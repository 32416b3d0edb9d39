//! What stands before a shard in its file. It is written last, so a file without one was torn and goes.
//!
//! ```text
//! 128 bytes   checksum (8), layout (1), root (32), segment (32), owner (32), length (8), leased until (8), zeros
//! then        the shard's bytes, then the hash of each group (none where there is one)
//! ```

use shared::{
    base::{
        BlobRoot, SegmentId, UnixSeconds,
        blob::{BlobShape, HASH_BYTES},
    },
    identity::PublicKey,
    storage::extras::MAX_EXTRA_BYTES,
};

/// Its length.
pub(crate) const HEADER_BYTES: u64 = 128;
/// The one layout there is so far.
const LAYOUT: u8 = 1;
/// Enough to notice a torn or rotten header; what it claims of bytes is verified by hash anyway.
const CHECKSUM_BYTES: usize = 8;

/// What is known of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) root: BlobRoot,
    pub(crate) segment: SegmentId,
    pub(crate) owner: PublicKey,
    pub(crate) shape: BlobShape,
    pub(crate) until: UnixSeconds,
}

impl Header {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0; CHECKSUM_BYTES];
        bytes.push(LAYOUT);
        bytes.extend(self.root.0);
        bytes.extend(self.segment.0);
        bytes.extend(self.owner.to_bytes());
        bytes.extend(self.shape.size().to_le_bytes());
        bytes.extend(self.until.0.to_le_bytes());
        bytes.resize(usize::try_from(HEADER_BYTES).expect("128"), 0);
        let sum = checksum(&bytes);
        bytes[..CHECKSUM_BYTES].copy_from_slice(&sum);
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (sum, _) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
        if *sum != checksum(bytes) {
            return None;
        }
        let mut fields = Fields(bytes.get(CHECKSUM_BYTES..)?);
        if fields.take()? != [LAYOUT] {
            return None;
        }
        let (root, segment) = (BlobRoot(fields.take()?), SegmentId(fields.take()?));
        let owner = PublicKey::from_bytes(&fields.take::<32>()?).ok()?;
        let size = u64::from_le_bytes(fields.take()?);
        let shape = BlobShape::new(size).filter(|_| (1..=MAX_EXTRA_BYTES).contains(&size))?;
        Some(Self { root, segment, owner, shape, until: UnixSeconds(u64::from_le_bytes(fields.take()?)) })
    }

    /// What the file takes on the disk.
    pub(crate) fn file_bytes(&self) -> u64 {
        file_bytes(self.shape)
    }
}

/// What a shard's file takes.
pub(crate) fn file_bytes(shape: BlobShape) -> u64 {
    HEADER_BYTES + shape.size() + hashes_bytes(shape) as u64
}

/// What the hashes of its groups take.
pub(crate) fn hashes_bytes(shape: BlobShape) -> usize {
    if shape.pages() == 0 { 0 } else { shape.groups() as usize * HASH_BYTES }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::hash(bytes.get(CHECKSUM_BYTES..).unwrap_or_default());
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash.as_bytes()[..CHECKSUM_BYTES]);
    sum
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*found)
    }
}
