//! What the tab keeps: verified pieces of blobs, in slots of 16 KiB, with a journal that finds them again.
//!
//! ```text
//!   Blobs ── judges, finds, evicts ──► Disk ── slots      one file of 16 KiB slots, behind memory
//!     │                                   └─── journals   two files, the newer valid one counts
//!     └── journal records: which slot holds which piece of which blob
//! ```
//!
//! Promises: nothing is kept that was not verified, and nothing leaves without being verified again, so
//! that a journal may be lost, torn or stale at any moment and costs at most another fetch. No more slots
//! are used than the quota allows; the least worth keeping goes first.
//!
//! Non-goals: where the slots are (`Disk` says), and what to fetch.

mod blobs;
mod cached;
mod disk;
mod eviction;
mod journal;

pub use blobs::{Blobs, PutError};
pub use cached::CachedDisk;
pub use disk::{Disk, DiskError, MemoryDisk, SLOT_BYTES};
