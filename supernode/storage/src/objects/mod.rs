//! Objects: sealed by their owner's node, cut into segments, read back by ranges.
//!
//! ```text
//! bytes ─► checks ─► seal ─┬─ ≤ 4 KiB ─► the object's record
//!                          └─ segments ≤ 64 MiB ─► Segments::put, two at a time
//! ```
//!
//! The keys follow from the node's own; this is the owner's node. Whoever runs one for others sees their plain bytes
//! in passing.
//!
//! Non-goals: HTTP, XML and who may do what, which are the door's.

mod customer;
mod keys;
mod reader;
mod readers;
mod segments;
mod service;
mod upkeep;
mod writer;

pub use customer::CustomerKey;
pub use keys::Keys;
pub use segments::{LocalSegments, Segments, StoredSegment};
pub use service::{NewObject, Objects, Opened, Upload, usual_sealing};
pub use writer::{PlainStream, WriteError, Written};

#[cfg(test)]
pub(crate) mod tests;
