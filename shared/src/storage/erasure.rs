//! Erasure: a segment becomes n shards, and any k of them are the segment.
//!
//! ```text
//! segment ─┬─ stripe 0 ─┬─ block 0   64 KiB ─► shard 0     the first k shards are the segment's own bytes
//!          │            ├─ …
//!          │            ├─ block k−1        ─► shard k−1
//!          │            └─ parity, n−k blocks ─► shards k … n−1
//!          └─ stripe 1 …                         each shard: its blocks in a row, a blob named by its root
//! ```
//!
//! Stripes of 64 KiB blocks are what the code is fastest at, and all that must be in memory at once. The last
//! stripe's blocks are as short as its bytes allow. A sealed frame is as long as a block: a range read asks one
//! holder for one frame, and computes nothing unless that holder is gone.
//!
//! The code does not notice wrong bytes; whoever feeds a decoder verifies each block against the shard's root
//! first, as with any blob.
//!
//! Non-goals: placement, transport, and choosing which shards to ask for.

mod decode;
mod encode;
mod profile;
mod shape;

pub use decode::{DecodeError, StripeDecoder};
pub use encode::{EncodeError, SegmentEncoder};
pub use profile::{Codec, MAX_SHARDS, Profile};
pub use shape::{BLOCK_BYTES, BlockPart, MAX_SEGMENT_BYTES, SegmentShape};

#[cfg(test)]
mod tests;
