//! Blobs: byte strings named by their BLAKE3 root and verified in groups of 16 KiB.
//!
//! A group can be checked on its own, whoever sent it, once its *hash page* is known:
//!
//! ```text
//! root ──┬─ page 0 ──┬─ group 0      16 KiB each
//!        │           ├─ …
//!        │           └─ group 511    so a page of 512 hashes covers 8 MiB and is itself 16 KiB
//!        └─ page 1 ── …              the hashes of all pages are the top, checked by the root
//! ```
//!
//! All of these are nodes of the one BLAKE3 tree (BLAKE3 paper, section 2.1), the same that bao and
//! iroh-blobs use with 16 KiB chunk groups; only the order in which hashes travel differs. It lets the
//! payload travel as plain bytes: any HTTP server, the publisher's own origin included, is a source whose
//! bytes can be verified, and whoever lies is found out within 16 KiB, in a page as in a group.
//!
//! Non-goals: storage, transport, and blobs over [`MAX_BLOB_BYTES`].

mod hasher;
mod hashes;
mod leaves;
mod shape;
mod slice;

pub use hasher::{BlobHasher, HashTree, TooLong, group_hash};
pub use hashes::{BlobHashes, VerifyError};
pub use leaves::{LEAF_BYTES, LeafError, ProveError, prove_leaves, verify_leaves};
pub use shape::{BlobShape, GROUP_BYTES, HASH_BYTES, MAX_BLOB_BYTES, PAGE_BYTES, PAGE_GROUPS};
pub use slice::{SliceError, read_slice};

/// The hash of a subtree that is not the root (BLAKE3's chaining value).
pub type SubtreeHash = [u8; HASH_BYTES];

#[cfg(test)]
mod tests;
